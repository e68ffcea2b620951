#include "server/app/access.h"

#include <fstream>
#include <sstream>
#include <vector>

#include "server/http/gate.h"
#include "server/ops/auth.h"

namespace foregate {
namespace {

constexpr std::size_t kMostBytes = 1u << 20;

// The keys of a file, one a line; lines that are empty or begin with # are none.
Result<std::vector<std::string>> keys_of(const std::string& option, const std::string& path) {
  std::ifstream file(path);
  std::string text(kMostBytes + 1, '\0');
  if (!file || (file.read(text.data(), static_cast<std::streamsize>(text.size())), file.bad())) {
    return invalid_argument(option + ": " + path + " cannot be read", option);
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kMostBytes) return invalid_argument(option + ": " + path + " is longer than 1 MiB", option);
  std::vector<std::string> keys;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string::npos || line[begin] == '#') continue;
    keys.push_back(line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin));
  }
  if (keys.empty()) return invalid_argument(option + ": " + path + " holds no key", option);
  return keys;
}

}  // namespace

Status settle_access(ServeOptions& options) {
  if (!options.api_key_file.empty()) {
    ASSIGN_OR_RETURN(const auto keys, keys_of("--api-key-file", options.api_key_file));
    options.api_key.insert(options.api_key.end(), keys.begin(), keys.end());
  }
  if (!options.admin_api_key_file.empty()) {
    ASSIGN_OR_RETURN(const auto keys, keys_of("--admin-api-key-file", options.admin_api_key_file));
    if (keys.size() > 1 || !options.admin_api_key.empty()) {
      return invalid_argument("--admin-api-key-file: there is one admin key only", "--admin-api-key-file");
    }
    options.admin_api_key = keys[0];
  }
  for (const std::string& key : options.api_key) RETURN_IF_ERROR(check_api_key(key, "--api-key"));
  if (!options.admin_api_key.empty()) RETURN_IF_ERROR(check_api_key(options.admin_api_key, "--admin-api-key"));
  for (const std::string& origin : options.allowed_origins) RETURN_IF_ERROR(check_origin(origin));
  return {};
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

}  // namespace foregate
