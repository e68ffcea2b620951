// Options of `foregate serve`: one struct made from options.def. Read once at start, before any
// thread; immutable afterwards. The only place that reads the environment.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

struct ServeOptions {
#define SECTION(name)
#define TEXT(field, initial, flags, help) std::string field = initial;
#define CHOICE(field, initial, flags, words, help) std::string field = initial;
#define COUNT(field, initial, low, high, flags, help) std::int64_t field = initial;
#define BYTES(field, initial, low, high, flags, help) std::int64_t field = initial;
#define SECONDS(field, initial, low, high, flags, help) double field = initial;
#define RATIO(field, initial, low, high, flags, help) double field = initial;
#define SWITCH(field, initial, flags, help) bool field = initial;
#define LIST(field, flags, help) std::vector<std::string> field;
#include "server/config/options.def"
#include "server/config/options_undef.inc"
};

enum class OptionKind { kText, kChoice, kCount, kBytes, kSeconds, kRatio, kSwitch, kList };

// One row of options.def.
struct OptionRow {
  OptionKind kind;
  std::string_view section;
  std::string_view field;    // name in ServeOptions and in YAML, with underscores
  std::string_view flags;    // "max-model-len c ctx-size"
  std::string_view initial;  // default as written in the table
  double low = 0;
  double high = 0;
  std::string_view words;  // of a choice
  std::string_view help;
  std::vector<std::string> names() const;  // "--max-model-len", "-c", "--ctx-size"
  std::string env_name() const;            // "FOREGATE_MAX_MODEL_LEN"
};

const std::vector<OptionRow>& option_rows();

// Sets one option from text. kInvalidArgument names `origin` (a flag, variable or YAML key) and says
// what is taken. A list gets one more entry.
Status set_option(ServeOptions& options, const OptionRow& row, std::string_view text, const std::string& origin);

using EnvLookup = std::function<std::optional<std::string>(const std::string&)>;
EnvLookup process_environment();
// Whether mpirun or srun started this process as one of several: as Open MPI, MPICH and Slurm say it to their children.
bool started_by_mpi(const EnvLookup& environment);

struct ParsedOptions {
  ServeOptions options;
  bool help = false;  // --help was asked for: print serve_help() and leave
};

// Command line over environment over --config file over `defaults`. argv[0] is skipped.
Result<ParsedOptions> parse_serve_options(int argc, const char* const* argv, const EnvLookup& environment,
                                          const ServeOptions& defaults = {});

// Applies a flat YAML mapping of option names; unknown keys are errors.
Status apply_yaml(ServeOptions& options, std::string_view yaml, const std::string& origin);

std::string serve_help();
std::string default_yaml();  // what configs/default.yaml holds

// "32k" = 32000, "32K" = 32768, "4GiB", "4GB", "1.5k"; none when it is not a whole number in int64.
std::optional<std::int64_t> parse_count(std::string_view text);

}  // namespace foregate
