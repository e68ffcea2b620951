#include <cctype>
#include <cstdlib>

#include "server/config/options.h"

namespace foregate {
namespace {

std::vector<OptionRow> make_rows() {
  std::vector<OptionRow> rows;
  std::string_view section;
  using K = OptionKind;
#define SECTION(name) section = name;
#define TEXT(field, initial, flags, help) rows.push_back({K::kText, section, #field, flags, initial, 0, 0, "", help});
#define CHOICE(field, initial, flags, words, help) \
  rows.push_back({K::kChoice, section, #field, flags, initial, 0, 0, words, help});
#define COUNT(field, initial, low, high, flags, help) \
  rows.push_back({K::kCount, section, #field, flags, #initial, double(low), double(high), "", help});
#define BYTES(field, initial, low, high, flags, help) \
  rows.push_back({K::kBytes, section, #field, flags, #initial, double(low), double(high), "", help});
#define SECONDS(field, initial, low, high, flags, help) \
  rows.push_back({K::kSeconds, section, #field, flags, #initial, double(low), double(high), "", help});
#define RATIO(field, initial, low, high, flags, help) \
  rows.push_back({K::kRatio, section, #field, flags, #initial, double(low), double(high), "", help});
#define SWITCH(field, initial, flags, help) \
  rows.push_back({K::kSwitch, section, #field, flags, #initial, 0, 0, "", help});
#define LIST(field, flags, help) rows.push_back({K::kList, section, #field, flags, "", 0, 0, "", help});
#include "server/config/options.def"
#include "server/config/options_undef.inc"
  return rows;
}

std::string value_hint(const OptionRow& row) {
  switch (row.kind) {
    case OptionKind::kText: return " TEXT";
    case OptionKind::kChoice: {
      std::string words(row.words);
      for (char& c : words) c = c == ' ' ? '|' : c;
      return " " + words;
    }
    case OptionKind::kCount: return " N";
    case OptionKind::kBytes: return " BYTES";
    case OptionKind::kSeconds: return " SECONDS";
    case OptionKind::kRatio: return " X";
    case OptionKind::kSwitch: return "";
    case OptionKind::kList: return " TEXT ...";
  }
  return "";
}

std::string quoted_yaml(const OptionRow& row) {
  if (row.kind == OptionKind::kText) return "\"" + std::string(row.initial) + "\"";
  if (row.kind == OptionKind::kList) return "[]";
  return std::string(row.initial);
}

}  // namespace

const std::vector<OptionRow>& option_rows() {
  static const std::vector<OptionRow> rows = make_rows();
  return rows;
}

std::vector<std::string> OptionRow::names() const {
  std::vector<std::string> out;
  std::size_t begin = 0;
  while (begin < flags.size()) {
    std::size_t end = flags.find(' ', begin);
    if (end == std::string_view::npos) end = flags.size();
    const std::string name(flags.substr(begin, end - begin));
    const bool short_name = (name.size() <= 2 && name != "ui") || name == "ctk";
    out.push_back((short_name ? "-" : "--") + name);
    begin = end + 1;
  }
  return out;
}

std::string OptionRow::env_name() const {
  std::string name = "FOREGATE_";
  for (char c : field) name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

EnvLookup process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

bool started_by_mpi(const EnvLookup& environment) {
  const auto several = [&environment](const char* name) {
    const std::optional<std::string> value = environment(name);
    return value && std::atoi(value->c_str()) > 1;
  };
  if (several("OMPI_COMM_WORLD_SIZE") || several("PMI_SIZE")) return true;
  return environment("PMIX_RANK").has_value() && several("SLURM_NTASKS");
}

std::string serve_help() {
  std::string out =
      "Usage: foregate serve MODEL [options]\n\n"
      "Serves a model over an OpenAI-compatible HTTP API. Each option may also be given in the environment\n"
      "(FOREGATE_MAX_MODEL_LEN for --max-model-len) or in a --config file; the command line wins over the\n"
      "environment, and the environment over the file.\n";
  std::string_view section;
  for (const OptionRow& row : option_rows()) {
    if (row.section != section) {
      section = row.section;
      out += "\n" + std::string(section) + ":\n";
    }
    std::string names;
    for (const std::string& name : row.names()) names += (names.empty() ? "  " : ", ") + name;
    out += names + value_hint(row) + "\n      " + std::string(row.help);
    if (!row.initial.empty()) out += " (default " + std::string(row.initial) + ")";
    out += "\n";
  }
  return out;
}

std::string default_yaml() {
  std::string out =
      "# Defaults of `foregate serve`, made from server/config/options.def (foregate serve --print-default-config).\n"
      "# Copy, change, and pass with --config; the environment and the command line win over it.\n";
  std::string_view section;
  for (const OptionRow& row : option_rows()) {
    if (row.field == "config") continue;
    if (row.section != section) {
      section = row.section;
      out += "\n# " + std::string(section) + "\n";
    }
    out += "# " + std::string(row.help) + "\n" + std::string(row.field) + ": " + quoted_yaml(row) + "\n";
  }
  return out;
}

}  // namespace foregate
