// Reads the text of a tokenizer.json. The vocabulary and the merges, which are nearly all of it, go
// straight into vectors; everything else becomes a small JSON tree.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/status.h"

namespace foregate::tok {

struct TokenizerJson {
  static constexpr std::size_t kMaxVocab = std::size_t{1} << 22;
  static constexpr std::size_t kMaxMerges = std::size_t{1} << 22;
  static constexpr int kMaxDepth = 64;

  std::vector<std::pair<std::string, std::int64_t>> vocab;  // model.vocab, in file order
  std::vector<std::pair<std::string, std::string>> merges;  // model.merges, "a b" and ["a", "b"] alike
  bool has_vocab = false, has_merges = false;
  std::shared_ptr<nlohmann::json> rest;  // the file without these two
};

// kDataLoss naming the field for broken JSON, wrong types, repeated keys, and too many entries.
Result<TokenizerJson> read_tokenizer_json(std::string_view text);

}  // namespace foregate::tok
