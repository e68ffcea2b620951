#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>

#include "server/config/options.h"

namespace foregate {
namespace {

// What the command line gave for one row: texts in order.
struct Given {
  const OptionRow* row = nullptr;
  CLI::Option* option = nullptr;
  std::vector<std::string> texts;
  CLI::Option* off = nullptr;  // --no-flag of a switch
};

// The parser knows one-letter short names only, and dashes: -np becomes --parallel, --a_b becomes --a-b.
std::vector<std::string> normal_arguments(int argc, const char* const* argv) {
  std::vector<std::string> out;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    if (word.rfind("--", 0) == 0) {
      const std::size_t end = std::min(word.find('='), word.size());
      std::replace(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
    } else if (word.size() >= 3 && word[0] == '-') {
      const std::size_t end = std::min(word.find('='), word.size());
      for (const OptionRow& row : option_rows()) {
        const auto names = row.names();
        if (std::find(names.begin(), names.end(), word.substr(0, end)) != names.end()) {
          word = names.front() + word.substr(end);
          break;
        }
      }
    }
    out.push_back(std::move(word));
  }
  return out;
}

std::string parser_names(const OptionRow& row) {
  std::string out;
  for (const std::string& name : row.names()) {
    const bool long_short = name.size() > 2 && name[1] != '-';
    if (!long_short) out += (out.empty() ? "" : ",") + name;
  }
  return out;
}

void declare(CLI::App& app, Given& given) {
  const OptionRow& row = *given.row;
  if (row.kind == OptionKind::kSwitch) {
    given.option = app.add_flag(parser_names(row));
    given.off = app.add_flag("--no-" + row.names().front().substr(2));
    return;
  }
  given.option = app.add_option(parser_names(row), given.texts)->expected(1);
  given.option->multi_option_policy(row.kind == OptionKind::kList ? CLI::MultiOptionPolicy::TakeAll
                                                                  : CLI::MultiOptionPolicy::TakeLast);
  given.option->allow_extra_args(false);  // one value per flag, also of a list
}

Status apply_given(ServeOptions& options, const Given& given) {
  const std::string flag = given.row->names().front();
  if (given.row->kind == OptionKind::kSwitch) {
    if (given.off->count() > 0 && given.option->count() > 0) {
      return invalid_argument(flag + " and its --no- form exclude each other", flag);
    }
    if (given.option->count() > 0) return set_option(options, *given.row, "true", flag);
    if (given.off->count() > 0) return set_option(options, *given.row, "false", flag);
    return {};
  }
  if (given.option->count() == 0) return {};
  for (const std::string& text : given.texts) RETURN_IF_ERROR(set_option(options, *given.row, text, flag));
  return {};
}

Status apply_environment(ServeOptions& options, const EnvLookup& environment) {
  for (const OptionRow& row : option_rows()) {
    const auto value = environment(row.env_name());
    if (!value) continue;
    if (row.kind != OptionKind::kList) {
      RETURN_IF_ERROR(set_option(options, row, *value, row.env_name()));
      continue;
    }
    std::stringstream parts(*value);
    for (std::string part; std::getline(parts, part, ',');) {
      RETURN_IF_ERROR(set_option(options, row, part, row.env_name()));
    }
  }
  return {};
}

Status apply_file(ServeOptions& options, const std::string& path) {
  std::ifstream file(path);
  if (!file) return invalid_argument("--config: cannot read " + path, "--config");
  std::stringstream text;
  text << file.rdbuf();
  return apply_yaml(options, text.str(), path);
}

// Lists of a higher source replace those of a lower one, so each source starts from empty lists.
void forget_lists(ServeOptions& options, const ServeOptions& higher) {
  if (!higher.api_key.empty()) options.api_key.clear();
  if (!higher.allowed_origins.empty()) options.allowed_origins.clear();
}

}  // namespace

Result<ParsedOptions> parse_serve_options(int argc, const char* const* argv, const EnvLookup& environment,
                                          const ServeOptions& defaults) {
  CLI::App app;
  app.set_help_flag("");
  bool help = false;
  app.add_flag("--help,-h", help);
  std::string positional;
  app.add_option("model_path", positional);
  std::vector<std::unique_ptr<Given>> given;
  for (const OptionRow& row : option_rows()) {
    given.push_back(std::make_unique<Given>());
    given.back()->row = &row;
    declare(app, *given.back());
  }
  std::vector<std::string> words = normal_arguments(argc, argv);
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    return invalid_argument(error.what());
  }
  ParsedOptions parsed{defaults, help};
  ServeOptions probe;  // the command line and environment alone, to find --config and given lists
  RETURN_IF_ERROR(apply_environment(probe, environment));
  ServeOptions from_flags;
  for (const auto& row : given) RETURN_IF_ERROR(apply_given(from_flags, *row));
  const std::string config = from_flags.config.empty() ? probe.config : from_flags.config;
  if (!config.empty()) RETURN_IF_ERROR(apply_file(parsed.options, config));
  forget_lists(parsed.options, probe);
  RETURN_IF_ERROR(apply_environment(parsed.options, environment));
  forget_lists(parsed.options, from_flags);
  for (const auto& row : given) RETURN_IF_ERROR(apply_given(parsed.options, *row));
  if (!positional.empty()) {
    if (!from_flags.model.empty() && from_flags.model != positional) {
      return invalid_argument("--model: the model is given twice, as " + from_flags.model + " and " + positional,
                              "--model");
    }
    parsed.options.model = positional;
  }
  return parsed;
}

}  // namespace foregate
