// What requests for files bring beside JSON: the parts of a form (multipart/form-data, RFC 7578) and the query of a
// list. Pure; views point into what was given.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

struct FormPart {
  std::string name;
  std::string filename;
  std::string_view body;
};

inline constexpr std::size_t kMaxFormParts = 16;

// kInvalidArgument for what is no form: no boundary, a part without a name or an end, too many parts.
Result<std::vector<FormPart>> parse_form(std::string_view content_type, std::string_view body);

struct ListQuery {
  std::int64_t limit = 0;
  std::string after;  // id of the last one that was seen; empty: from the beginning
  std::string purpose;
  bool oldest_first = false;
};

// kInvalidArgument names the parameter. Parameters that are not known are left alone.
Result<ListQuery> parse_list_query(std::string_view query, std::int64_t default_limit);

}  // namespace foregate
