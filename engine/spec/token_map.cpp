#include "engine/spec/token_map.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/api/limits.h"
#include "engine/weights/checked_json.h"

namespace foregate {

Result<std::vector<Token>> read_token_map(const FileSystem& files, const std::string& path, std::int32_t vocab_size) {
  const auto wrong = [&](const std::string& what) {
    return invalid_argument("--speculative-config: speculative_token_map " + path + ": " + what, "speculative_config");
  };
  const Result<std::string> text = read_text(files, path, kMaxTokenMapBytes);
  if (!text.ok()) return wrong(text.status().message());
  nlohmann::json ids;
  const Status parsed = parse_checked_json(text.value(), 2, path, ids);
  if (!parsed.ok()) return wrong(parsed.message());
  if (!ids.is_array() || ids.empty()) return wrong("must be an array of token ids");
  std::vector<Token> tokens;
  tokens.reserve(ids.size());
  for (const auto& id : ids) {
    if (!id.is_number_integer() || id < 0 || id >= vocab_size) {
      return wrong("entry " + std::to_string(tokens.size()) + " is no token id below " + std::to_string(vocab_size));
    }
    tokens.push_back(id.get<Token>());
  }
  std::sort(tokens.begin(), tokens.end());
  const auto twice = std::adjacent_find(tokens.begin(), tokens.end());
  if (twice != tokens.end()) return wrong("token id " + std::to_string(*twice) + " is there twice");
  return tokens;
}

}  // namespace foregate
