#include "server/openai/request_id.h"

#include <algorithm>

#include "engine/api/limits.h"

namespace foregate {

Status check_request_id(std::string_view id, const char* field) {
  const std::string name(field);
  if (id.size() > kMaxRequestIdBytes) {
    return invalid_argument(name + " is longer than " + std::to_string(kMaxRequestIdBytes) + " bytes", name);
  }
  const bool plain =
      std::all_of(id.begin(), id.end(), [](char c) { return c > 32 && c < 127 && c != '"' && c != '\\'; });
  return plain ? Status() : invalid_argument(name + " must be visible ASCII without quotes and backslashes", name);
}

}  // namespace foregate
