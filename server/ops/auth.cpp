#include "server/ops/auth.h"

#include <cctype>
#include <cstddef>

namespace foregate {

bool equal_constant_time(std::string_view given, std::string_view secret) {
  if (secret.empty()) return given.empty();
  unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char mine = secret[i % secret.size()];
    difference |= static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(mine));
  }
  return difference == 0;
}

std::size_t Auth::which(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return 0;
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(authorization[i])) != kScheme[i]) return 0;
  }
  const std::string_view given = authorization.substr(kScheme.size());
  std::size_t found = 0;
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    if (equal_constant_time(given, keys_[i])) found = i + 1;
  }
  return found;
}

}  // namespace foregate
