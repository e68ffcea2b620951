#include "server/config/limits_table.h"

#include "engine/api/limits.h"
#include "server/config/options.h"

namespace foregate {
namespace {

// `member` is there so that a row for an option that does not exist does not compile.
template <class Member>
LimitRow option_limit(std::string_view section, std::string_view field, Member ServeOptions::*member,
                      std::string_view what, std::string_view answer) {
  static_cast<void>(member);
  for (const OptionRow& row : option_rows()) {
    if (row.field == field) return {section, field, row.names().front(), std::string(row.initial), what, answer, true};
  }
  return {section, field, {}, {}, what, answer, true};  // tests/server/test_limits.cpp would see it
}

std::vector<LimitRow> made_rows() {
  std::vector<LimitRow> rows;
  std::string_view section;
#define SECTION(name) section = name;
#define LIMIT(constant, value, place, what, answer) \
  rows.push_back({section, #constant, place, std::to_string(constant), what, answer, false});
#define OPTION_LIMIT(field, what, answer) \
  rows.push_back(option_limit(section, #field, &ServeOptions::field, what, answer));
#include "engine/api/limits.def"
#undef SECTION
#undef LIMIT
#undef OPTION_LIMIT
  return rows;
}

}  // namespace

const std::vector<LimitRow>& limit_rows() {
  static const std::vector<LimitRow> rows = made_rows();
  return rows;
}

std::string limits_markdown() {
  std::string out =
      "# Limits\n\n"
      "Made from `engine/api/limits.def` (`foregate serve --print-limits`). Every limit is checked before memory is\n"
      "taken for what it counts. A number in the last column is an HTTP status; gRPC gives its counterpart.\n";
  std::string_view section;
  for (const LimitRow& row : limit_rows()) {
    if (row.section != section) {
      section = row.section;
      out += "\n## " + std::string(section) + "\n\n| Where | Limit | Of | Beyond it |\n|---|---|---|---|\n";
    }
    out += "| " + (row.option ? "`" + row.place + "`" : row.place) + " | " + row.initial + " | " +
           std::string(row.what) + " | " + std::string(row.answer) + " |\n";
  }
  return out;
}

}  // namespace foregate
