// Access by API key. Keys are kept as SHA-256 digests only. Immutable after start; safe from any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

// A key is its text, or "sha256:" and the 64 hexadecimal digits of its digest: then nobody who reads the options learns
// it. kInvalidArgument names `origin` for one that no client could send.
Status check_api_key(std::string_view key, const std::string& origin);

class Auth {
 public:
  explicit Auth(const std::vector<std::string>& keys, const std::string& admin_key = {});
  bool needed() const { return keys_ > 0; }
  // `authorization` is the header's value. True without keys; every key is compared in any case, and time tells nothing
  // but the length of what was given. The admin key opens all that the others do.
  bool allows(std::string_view authorization) const { return keys_ == 0 || which(authorization) != 0; }
  // What needs the admin key where there is one, and any key where there is none.
  bool allows_admin(std::string_view authorization) const {
    return has_admin() ? is_admin(authorization) : allows(authorization);
  }
  bool is_admin(std::string_view authorization) const { return has_admin() && which(authorization) == digests_.size(); }
  bool has_admin() const { return digests_.size() > keys_; }
  // The number of the key that was given, from 1, the admin key's last; 0 when none was, or none is needed.
  std::size_t which(std::string_view authorization) const;
  // What the owner of key `number` is called on disk: the same for the same key in every run; empty for 0.
  std::string owner(std::size_t number) const;
  std::size_t number_of(std::string_view owner) const;  // 0: the key is there no more

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest_of(std::string_view key);

  std::vector<Digest> digests_;  // the keys', then the admin key's
  std::size_t keys_ = 0;
};

}  // namespace foregate
