// Access by API key. Immutable after start; safe from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace foregate {

// Compares all of `given` whatever its first bytes are: time tells nothing but its own length.
bool equal_constant_time(std::string_view given, std::string_view secret);

class Auth {
 public:
  explicit Auth(std::vector<std::string> keys) : keys_(std::move(keys)) {}
  bool needed() const { return !keys_.empty(); }
  // `authorization` is the header's value. True without keys; every key is compared in any case.
  bool allows(std::string_view authorization) const { return keys_.empty() || which(authorization) != 0; }
  // The number of the key that was given, from 1; 0 when none was, or none is needed.
  std::size_t which(std::string_view authorization) const;

 private:
  std::vector<std::string> keys_;
};

}  // namespace foregate
