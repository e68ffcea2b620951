// Options: every row of options.def by command line, environment and YAML, bounds, precedence.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "server/config/limits_table.h"
#include "server/config/options.h"

namespace foregate {
namespace {

using Env = std::map<std::string, std::string>;

Result<ParsedOptions> parse(std::vector<std::string> words, const Env& env = {}) {
  words.insert(words.begin(), "serve");
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  return parse_serve_options(static_cast<int>(argv.size()), argv.data(),
                             [&env](const std::string& name) -> std::optional<std::string> {
                               const auto found = env.find(name);
                               if (found == env.end()) return std::nullopt;
                               return found->second;
                             });
}

ServeOptions good(const std::vector<std::string>& words, const Env& env = {}) {
  auto parsed = parse(words, env);
  EXPECT_TRUE(parsed.ok()) << parsed.status().message();
  return parsed.ok() ? parsed->options : ServeOptions{};
}

// The value of one option as text, to compare sources with one another.
std::string value_of(const ServeOptions& options, const OptionRow& row) {
  std::ostringstream out;
#define SECTION(name)
#define TEXT(member, initial, flags, help) \
  if (row.field == #member) out << options.member;
#define CHOICE(member, initial, flags, words, help) TEXT(member, initial, flags, help)
#define COUNT(member, initial, low, high, flags, help) TEXT(member, initial, flags, help)
#define BYTES(member, initial, low, high, flags, help) TEXT(member, initial, flags, help)
#define SECONDS(member, initial, low, high, flags, help) TEXT(member, initial, flags, help)
#define RATIO(member, initial, low, high, flags, help) TEXT(member, initial, flags, help)
#define SWITCH(member, initial, flags, help) TEXT(member, initial, flags, help)
#define LIST(member, flags, help) \
  if (row.field == #member)       \
    for (const auto& item : options.member) out << item << ";";
#include "server/config/options.def"
#include "server/config/options_undef.inc"
  return out.str();
}

// A value inside the row's bounds that differs from the default.
std::string other_value(const OptionRow& row) {
  switch (row.kind) {
    case OptionKind::kText: return "some_text";
    case OptionKind::kChoice: return std::string(row.words.substr(row.words.rfind(' ') + 1));
    case OptionKind::kCount:
    case OptionKind::kBytes: return std::to_string(static_cast<std::int64_t>(std::min(row.low + 3, row.high)));
    case OptionKind::kSeconds:
    case OptionKind::kRatio: return "0.25";
    case OptionKind::kSwitch: return row.initial == "true" ? "false" : "true";
    case OptionKind::kList: return "entry";
  }
  return {};
}

bool reads_a_file(const OptionRow& row) {
  return row.field == "config";
}

TEST(Options, EveryRowIsSetByEveryNameAndByTheEnvironment) {
  for (const OptionRow& row : option_rows()) {
    if (reads_a_file(row)) continue;
    const std::string value = other_value(row);
    ServeOptions expected;
    ASSERT_TRUE(set_option(expected, row, value, "test").ok()) << row.field;
    ASSERT_NE(value_of(expected, row), value_of(ServeOptions{}, row)) << row.field;
    for (const std::string& name : row.names()) {
      std::vector<std::string> words = {name, value};
      if (row.kind == OptionKind::kSwitch) words = {value == "true" ? name : "--no-" + name.substr(2)};
      EXPECT_EQ(value_of(good(words), row), value_of(expected, row)) << name;
    }
    EXPECT_EQ(value_of(good({}, {{row.env_name(), value}}), row), value_of(expected, row)) << row.env_name();
  }
}

TEST(Options, AJobOfMpiIsKnownByWhatItsLaunchersSay) {
  const auto started = [](std::map<std::string, std::string> variables) {
    return started_by_mpi([variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
      const auto at = variables.find(name);
      return at == variables.end() ? std::nullopt : std::optional(at->second);
    });
  };
  EXPECT_TRUE(started({{"OMPI_COMM_WORLD_SIZE", "2"}}));
  EXPECT_TRUE(started({{"PMI_SIZE", "3"}}));
  EXPECT_TRUE(started({{"PMIX_RANK", "0"}, {"SLURM_NTASKS", "2"}}));
  EXPECT_FALSE(started({}));
  EXPECT_FALSE(started({{"OMPI_COMM_WORLD_SIZE", "1"}})) << "mpirun -np 1";
  EXPECT_FALSE(started({{"SLURM_NTASKS", "4"}})) << "a batch job without MPI";
  EXPECT_FALSE(started({{"PMI_SIZE", "many"}}));
}

TEST(Options, UnderscoresAndEqualsSignsAreTaken) {
  EXPECT_EQ(good({"--max_model_len", "100"}).max_model_len, 100);
  EXPECT_EQ(good({"--max_model_len=100"}).max_model_len, 100);
  EXPECT_EQ(good({"--served-model-name=a_b"}).served_model_name, "a_b");
  EXPECT_EQ(good({"-np", "7"}).max_num_seqs, 7);
}

TEST(Options, OtherDefaultsGiveWayToAllThatIsAsked) {
  ServeOptions defaults;
  defaults.max_num_seqs = 0;
  defaults.block_size = 8;
  const char* words[] = {"foregate", "m", "--block-size", "4"};
  const auto parsed = parse_serve_options(
      4, words, [](const std::string&) { return std::nullopt; }, defaults);
  ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
  EXPECT_EQ(parsed->options.max_num_seqs, 0);
  EXPECT_EQ(parsed->options.block_size, 4);
  EXPECT_EQ(parsed->options.port, ServeOptions().port);
}

TEST(Options, PositionalModel) {
  EXPECT_EQ(good({"models/demo"}).model, "models/demo");
  EXPECT_EQ(good({"models/demo", "--port", "9"}).model, "models/demo");
  EXPECT_EQ(good({"-m", "x"}).model, "x");
  EXPECT_FALSE(parse({"a", "-m", "b"}).ok());
}

TEST(Options, CommandLineWinsOverEnvironmentAndLastWins) {
  EXPECT_EQ(good({"--port", "1"}, {{"FOREGATE_PORT", "2"}}).port, 1);
  EXPECT_EQ(good({"--port", "1", "--port", "3"}).port, 3);
  EXPECT_EQ(good({}, {{"FOREGATE_PORT", "2"}}).port, 2);
}

TEST(Options, ListsRepeatAndHigherSourcesReplace) {
  EXPECT_EQ(good({"--api-key", "a", "--api-key", "b"}).api_key, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(good({}, {{"FOREGATE_API_KEY", "a,b"}}).api_key, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(good({"--api-key", "c"}, {{"FOREGATE_API_KEY", "a,b"}}).api_key, (std::vector<std::string>{"c"}));
  EXPECT_EQ(good({"--api-key", "c", "model"}).model, "model");
}

TEST(Options, Switches) {
  EXPECT_TRUE(good({"--enable-log-requests"}).enable_log_requests);
  for (const char* word : {"true", "1", "on", "enabled"}) {
    EXPECT_TRUE(good({}, {{"FOREGATE_ENABLE_LOG_REQUESTS", word}}).enable_log_requests) << word;
  }
  EXPECT_FALSE(good({"--no-enable-log-requests"}, {{"FOREGATE_ENABLE_LOG_REQUESTS", "1"}}).enable_log_requests);
  EXPECT_FALSE(parse({}, {{"FOREGATE_ENABLE_LOG_REQUESTS", "maybe"}}).ok());
}

TEST(Options, ValuesOutsideTheirBoundsNameTheFlag) {
  for (const OptionRow& row : option_rows()) {
    std::vector<std::string> bad;
    switch (row.kind) {
      case OptionKind::kCount:
      case OptionKind::kBytes:
        bad = {"", "x", "1.5", "-1", "99999999999999999999", "1kk", "0x10", "nan"};
        if (row.low > 0) bad.push_back(std::to_string(static_cast<std::int64_t>(row.low) - 1));
        if (row.high < 9e18) bad.push_back(std::to_string(static_cast<std::int64_t>(row.high) + 1));
        break;
      case OptionKind::kSeconds:
      case OptionKind::kRatio: bad = {"", "x", "-1", "nan", "inf", "1e99", "5s"}; break;
      case OptionKind::kChoice: bad = {"", "nonsense", "auto f32", " "}; break;
      case OptionKind::kList: bad = {""}; break;
      default: break;
    }
    for (const std::string& value : bad) {
      const std::string flag = row.names().front();
      const auto parsed = parse({flag + "=" + value});
      ASSERT_FALSE(parsed.ok()) << flag << " took \"" << value << "\"";
      EXPECT_NE(parsed.status().message().find(flag), std::string::npos) << parsed.status().message();
      const auto from_env = parse({}, {{row.env_name(), value}});
      if (value.empty() && row.kind == OptionKind::kList) continue;
      ASSERT_FALSE(from_env.ok()) << row.env_name() << " took \"" << value << "\"";
      EXPECT_NE(from_env.status().message().find(row.env_name()), std::string::npos);
    }
  }
}

TEST(Options, UnknownFlagsAreErrors) {
  EXPECT_FALSE(parse({"--tensor-parallel-size", "2"}).ok());
  EXPECT_FALSE(parse({"--port"}).ok());
  EXPECT_FALSE(parse({"a", "b"}).ok());
}

TEST(Options, CountsWithUnits) {
  EXPECT_EQ(parse_count("32k"), 32000);
  EXPECT_EQ(parse_count("32K"), 32768);
  EXPECT_EQ(parse_count("1.5k"), 1500);
  EXPECT_EQ(parse_count("4GiB"), std::int64_t{4} << 30);
  EXPECT_EQ(parse_count("4GB"), 4000000000);
  EXPECT_EQ(parse_count("4g"), 4000000000);
  EXPECT_EQ(parse_count("512M"), 512 << 20);
  EXPECT_EQ(parse_count("9223372036854775807"), 9223372036854775807);
  for (const char* bad :
       {"", "k", "1.0001k", "9223372036854775808", "9223372036854775807k", "1e3", "+1", "1 k", "1..5k"}) {
    EXPECT_FALSE(parse_count(bad)) << bad;
  }
}

TEST(Options, DefaultYamlMatchesTheCommittedFileAndLoads) {
  std::ifstream file(std::string(FOREGATE_SOURCE_DIR) + "/configs/default.yaml");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), default_yaml()) << "foregate serve --print-default-config > configs/default.yaml";
#ifdef FOREGATE_HAVE_YAML
  ServeOptions loaded;
  const Status status = apply_yaml(loaded, text.str(), "default.yaml");
  ASSERT_TRUE(status.ok()) << status.message();
  for (const OptionRow& row : option_rows())
    EXPECT_EQ(value_of(loaded, row), value_of(ServeOptions{}, row)) << row.field;
#endif
}

TEST(Options, LimitsMatchTheCommittedFile) {
  std::ifstream file(std::string(FOREGATE_SOURCE_DIR) + "/server/LIMITS.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), limits_markdown()) << "foregate serve --print-limits > server/LIMITS.md";
}

#ifdef FOREGATE_HAVE_YAML
TEST(Options, YamlFileIsTheLowestSource) {
  const std::string path = testing::TempDir() + "/foregate_config.yaml";
  std::ofstream(path) << "port: 5\nmax-num-seqs: 6\napi_key: [x, y]\nenable_log_requests: on\n";
  EXPECT_EQ(good({"--config", path}).port, 5);
  EXPECT_EQ(good({"--config", path}).max_num_seqs, 6);
  EXPECT_TRUE(good({"--config", path}).enable_log_requests);
  EXPECT_EQ(good({"--config", path}).api_key.size(), 2u);
  EXPECT_EQ(good({"--config", path}, {{"FOREGATE_PORT", "2"}}).port, 2);
  EXPECT_EQ(good({"--port", "1"}, {{"FOREGATE_CONFIG", path}}).port, 1);
  EXPECT_EQ(good({"--api-key", "z"}, {{"FOREGATE_CONFIG", path}}).api_key, (std::vector<std::string>{"z"}));
}

TEST(Options, BadYamlIsRefused) {
  for (const char* bad : {"nonsense: 1", "port: x", "port: [1]", "api_key: k", "- 1", "port: {a: 1}", "port: 1: 2",
                          "config: a", "max_num_seqs: -1", "api_key: [[a]]"}) {
    ServeOptions options;
    EXPECT_FALSE(apply_yaml(options, bad, "file").ok()) << bad;
  }
  EXPECT_FALSE(parse({"--config", "/nonexistent/file.yaml"}).ok());
}
#endif

TEST(Options, HelpNamesEveryFlag) {
  const std::string help = serve_help();
  for (const OptionRow& row : option_rows()) {
    for (const std::string& name : row.names()) EXPECT_NE(help.find(name), std::string::npos) << name;
  }
  auto parsed = parse({"--help"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->help);
}

}  // namespace
}  // namespace foregate
