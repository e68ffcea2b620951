// The limits of engine/api/limits.def with their defaults, for people: what server/LIMITS.md holds. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace foregate {

struct LimitRow {
  std::string_view section;
  std::string_view name;    // the constant; of an option its field
  std::string place;        // the field of a request, or the flag
  std::string initial;      // the limit, or the default of the option
  std::string_view what;    // is counted
  std::string_view answer;  // to what is beyond it
  bool option = false;
};

const std::vector<LimitRow>& limit_rows();
std::string limits_markdown();  // foregate serve --print-limits

}  // namespace foregate
