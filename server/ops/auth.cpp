#include "server/ops/auth.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cctype>
#include <cstddef>

namespace foregate {
namespace {

constexpr std::string_view kDigestMark = "sha256:";
constexpr std::size_t kMostKey = 1024;

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int lower = std::tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool is_digest(std::string_view key) {
  return key.size() == kDigestMark.size() + 64 && key.starts_with(kDigestMark) &&
         std::all_of(key.begin() + kDigestMark.size(), key.end(), [](char c) { return hex_value(c) >= 0; });
}

}  // namespace

Status check_api_key(std::string_view key, const std::string& origin) {
  if (key.empty() || key.size() > kMostKey) return invalid_argument(origin + ": a key has 1 to 1024 bytes", origin);
  if (!std::all_of(key.begin(), key.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; })) {
    return invalid_argument(origin + ": a key holds printable ASCII without spaces only", origin);
  }
  if (key.starts_with(kDigestMark) && !is_digest(key)) {
    return invalid_argument(origin + ": sha256: is followed by 64 hexadecimal digits", origin);
  }
  return {};
}

Auth::Auth(const std::vector<std::string>& keys, const std::string& admin_key) : keys_(keys.size()) {
  const auto add = [this](std::string_view key) {
    if (!is_digest(key)) return digests_.push_back(digest_of(key));
    Digest digest{};
    for (std::size_t i = 0; i < digest.size(); ++i) {
      const std::size_t at = kDigestMark.size() + 2 * i;
      digest[i] = static_cast<unsigned char>(hex_value(key[at]) * 16 + hex_value(key[at + 1]));
    }
    digests_.push_back(digest);
  };
  for (const std::string& key : keys) add(key);
  if (!admin_key.empty()) add(admin_key);
}

Auth::Digest Auth::digest_of(std::string_view key) {
  Digest digest{};
  CHECK(EVP_Digest(key.data(), key.size(), digest.data(), nullptr, EVP_sha256(), nullptr) == 1);
  return digest;
}

std::size_t Auth::which(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  if (authorization.size() < kScheme.size()) return 0;
  for (std::size_t i = 0; i < kScheme.size(); ++i) {
    if (std::tolower(static_cast<unsigned char>(authorization[i])) != kScheme[i]) return 0;
  }
  const Digest given = digest_of(authorization.substr(kScheme.size()));
  std::size_t found = 0;
  for (std::size_t i = 0; i < digests_.size(); ++i) {
    if (CRYPTO_memcmp(given.data(), digests_[i].data(), given.size()) == 0) found = i + 1;
  }
  return found;
}

std::string Auth::owner(std::size_t number) const {
  static const char* kHex = "0123456789abcdef";
  std::string name;
  if (number == 0 || number > digests_.size()) return name;
  for (std::size_t i = 0; i < 8; ++i) {
    name += kHex[digests_[number - 1][i] >> 4];
    name += kHex[digests_[number - 1][i] & 15];
  }
  return name;
}

std::size_t Auth::number_of(std::string_view name) const {
  for (std::size_t number = 1; number <= digests_.size(); ++number) {
    if (owner(number) == name) return number;
  }
  return 0;
}

}  // namespace foregate
