#include "server/openai/renamed.h"

namespace foregate {

Status renamed(const Status& status, std::span<const std::pair<std::string_view, std::string_view>> names) {
  const std::string& field = status.field();
  for (const auto& [from, to] : names) {
    const bool whole = field == from;
    const bool within = field.size() > from.size() && field.compare(0, from.size(), from) == 0 &&
                        (field[from.size()] == '.' || field[from.size()] == '[');
    if (!whole && !within) continue;
    const std::string now = std::string(to) + field.substr(from.size());
    std::string message = status.message();
    if (message.compare(0, field.size(), field) == 0) message = now + message.substr(field.size());
    return Status(status.code(), message, now);
  }
  return status;
}

}  // namespace foregate
