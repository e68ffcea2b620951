// The BPE model of tokenizer.json: a vocabulary, ranked merges, and what to do with characters
// that have no token. Immutable after build(); safe to share between threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/api/types.h"
#include "engine/base/status.h"

namespace foregate::tok {

struct BpeConfig {
  std::vector<std::pair<std::string, std::int64_t>> vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // in order of rank
  std::optional<std::string> unk_token;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

// Open-addressing table from a pair of token ids to the rank of their merge.
class PairRanks {
 public:
  static constexpr std::uint32_t kNone = 0xFFFFFFFFu;
  explicit PairRanks(std::size_t count);
  void set(Token left, Token right, std::uint32_t rank);
  std::uint32_t find(Token left, Token right) const;

 private:
  std::size_t slot(std::uint64_t key) const;
  std::vector<std::uint64_t> keys_;
  std::vector<std::uint32_t> ranks_;
  unsigned shift_ = 0;
};

class Bpe {
 public:
  static constexpr std::int64_t kMaxId = (1 << 23) - 1;
  static constexpr std::size_t kMaxTokenBytes = 1 << 16;

  // kDataLoss naming model.vocab or model.merges for ids out of range or used twice, merges of
  // unknown tokens, and merges whose result is not in the vocabulary.
  static Result<std::unique_ptr<Bpe>> build(BpeConfig config);

  // Appends the ids of one pre-token (valid UTF-8). O(n log n) in its characters. No merge gives an
  // id for which `forbidden` (indexed by id; may be null) is true.
  Status tokenize(std::string_view piece, const std::vector<bool>* forbidden, std::vector<Token>* out) const;
  std::optional<Token> find(std::string_view token) const;
  std::optional<std::string_view> token(Token id) const;
  std::size_t count() const { return ids_.size(); }                     // tokens in the vocabulary
  Token id_limit() const { return static_cast<Token>(by_id_.size()); }  // largest id + 1

 private:
  struct Symbol {
    Token id;
    std::int32_t prev, next;
    bool live;
  };
  explicit Bpe(BpeConfig config);
  Status index_vocab();
  Status index_merges();
  void index_characters();
  std::optional<Token> character(std::string_view text) const;
  Status split_characters(std::string_view piece, std::vector<Symbol>* symbols) const;
  bool append_bytes(std::string_view text, std::vector<Symbol>* symbols) const;
  void merge_all(const std::vector<bool>* forbidden, std::vector<Symbol>* symbols) const;

  BpeConfig config_;  // owns the token strings; merges are dropped once indexed
  std::unordered_map<std::string_view, Token> ids_;
  std::vector<std::int32_t> by_id_;  // id -> index in config_.vocab, -1 for a hole
  PairRanks ranks_{0};
  std::vector<Token> merged_;    // rank -> id of the merged token
  std::vector<Token> direct_;    // code point below 0x800 -> id or -1
  std::vector<Token> byte_ids_;  // byte -> id of "<0xNN>" or -1
};

}  // namespace foregate::tok
