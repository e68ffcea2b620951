// What the tests of grammars share: small vocabularies, the demo model's vocabulary, texts read byte by byte.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/api/types.h"
#include "engine/grammar/compile.h"
#include "engine/io/file.h"
#include "engine/text/tokenizer.h"

namespace foregate::grammar {

// Ids 0..255 are the bytes; 256 ends; then `more`.
inline Vocabulary byte_vocabulary(const std::vector<std::string>& more = {}) {
  Vocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.tokens.emplace_back(1, static_cast<char>(byte));
  vocabulary.tokens.emplace_back();
  vocabulary.tokens.insert(vocabulary.tokens.end(), more.begin(), more.end());
  vocabulary.end_ids = {256};
  return vocabulary;
}

inline Vocabulary demo_vocabulary() {
  auto tokenizer = load_tokenizer(local_files(), std::string(FOREGATE_SOURCE_DIR) + "/models/demo/tokenizer.json");
  CHECK(tokenizer.ok());
  Vocabulary vocabulary;
  for (Token id = 0; id < (*tokenizer)->vocab_size(); ++id) {
    vocabulary.tokens.push_back((*tokenizer)->is_special(id) ? "" : (*tokenizer)->token_bytes(id));
  }
  vocabulary.end_ids = {0};
  return vocabulary;
}

inline bool bit(std::span<const std::uint64_t> mask, Token id) {
  const auto at = static_cast<std::size_t>(id);
  return at / 64 < mask.size() && (mask[at / 64] >> (at % 64) & 1) != 0;
}

// How far a text can be read; and whether it may end there.
struct Reading {
  std::size_t bytes = 0;
  bool ends = false;
};

inline Reading read(const TokenConstraint& constraint, std::string_view text) {
  auto state = constraint.start();
  Reading reading;
  for (const char c : text) {
    if (!state->accept(static_cast<unsigned char>(c)).ok()) return reading;
    ++reading.bytes;
  }
  auto mask = state->allowed();
  reading.ends = mask.ok() && bit(*mask, 256);
  return reading;
}

inline bool matches(const TokenConstraint& constraint, std::string_view text) {
  const Reading reading = read(constraint, text);
  return reading.bytes == text.size() && reading.ends;
}

using Kind = GrammarSpec::Kind;

// A compiler over single bytes.
inline GrammarCompiler& bytes_compiler() {
  static GrammarCompiler compiler(byte_vocabulary());
  return compiler;
}

inline std::shared_ptr<const TokenConstraint> compiled(Kind kind, const std::string& text) {
  auto made = bytes_compiler().compile({kind, text});
  EXPECT_TRUE(made.ok()) << text.substr(0, 300) << ": " << made.status().to_string();
  return made.ok() ? *made : nullptr;
}

}  // namespace foregate::grammar
