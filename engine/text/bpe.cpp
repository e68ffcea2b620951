#include "engine/text/bpe.h"

#include <algorithm>
#include <functional>

#include "engine/base/log.h"
#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

constexpr std::uint64_t kEmptyKey = ~std::uint64_t{0};
constexpr char32_t kDirectLimit = 0x800;

std::uint64_t pair_key(Token left, Token right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
}

bool is_forbidden(const std::vector<bool>* forbidden, Token id) {
  return forbidden != nullptr && static_cast<std::size_t>(id) < forbidden->size() && (*forbidden)[id];
}

}  // namespace

PairRanks::PairRanks(std::size_t count) {
  std::size_t size = 16;
  while (size < 2 * count) size *= 2;
  keys_.assign(size, kEmptyKey);
  ranks_.assign(size, kNone);
  shift_ = 64;
  for (std::size_t left = size; left > 1; left /= 2) --shift_;
}

std::size_t PairRanks::slot(std::uint64_t key) const {
  std::size_t at = (key * 0x9E3779B97F4A7C15u) >> shift_;
  while (keys_[at] != kEmptyKey && keys_[at] != key) at = (at + 1) & (keys_.size() - 1);
  return at;
}

void PairRanks::set(Token left, Token right, std::uint32_t rank) {
  const std::uint64_t key = pair_key(left, right);
  const std::size_t at = slot(key);
  keys_[at] = key;
  ranks_[at] = rank;
}

std::uint32_t PairRanks::find(Token left, Token right) const {
  return ranks_[slot(pair_key(left, right))];
}

Bpe::Bpe(BpeConfig config) : config_(std::move(config)) {}

Result<std::unique_ptr<Bpe>> Bpe::build(BpeConfig config) {
  std::unique_ptr<Bpe> model(new Bpe(std::move(config)));
  RETURN_IF_ERROR(model->index_vocab());
  RETURN_IF_ERROR(model->index_merges());
  model->index_characters();
  return model;
}

Status Bpe::index_vocab() {
  const auto& vocab = config_.vocab;
  if (vocab.empty()) return data_loss("the vocabulary is empty", "model.vocab");
  std::int64_t largest = 0;
  for (const auto& [token, id] : vocab) {
    const bool bad_id = id < 0 || id > kMaxId;
    if (bad_id || token.size() > kMaxTokenBytes) {
      const std::string why = bad_id ? "has id " + std::to_string(id) + ", out of range" : "is longer than 65536 bytes";
      return data_loss("model.vocab: token " + quoted(token, 40) + " " + why, "model.vocab");
    }
    largest = std::max(largest, id);
  }
  by_id_.assign(static_cast<std::size_t>(largest) + 1, -1);
  ids_.reserve(vocab.size());
  for (std::size_t i = 0; i < vocab.size(); ++i) {
    const auto& [token, id] = vocab[i];
    if (by_id_[id] >= 0) {
      return data_loss("model.vocab: id " + std::to_string(id) + " is given to " + quoted(token, 40) + " and to " +
                           quoted(vocab[by_id_[id]].first, 40),
                       "model.vocab");
    }
    by_id_[id] = static_cast<std::int32_t>(i);
    if (!ids_.emplace(token, static_cast<Token>(id)).second) {
      return data_loss("model.vocab: token " + quoted(token, 40) + " appears twice", "model.vocab");
    }
  }
  return {};
}

Status Bpe::index_merges() {
  ranks_ = PairRanks(config_.merges.size());
  merged_.reserve(config_.merges.size());
  std::string joined;
  for (std::size_t rank = 0; rank < config_.merges.size(); ++rank) {
    const std::string& left = config_.merges[rank].first;  // names, not bindings: not every compiler captures those
    const std::string& right = config_.merges[rank].second;
    const auto refuse = [&](const std::string& why) {
      return data_loss(
          "model.merges[" + std::to_string(rank) + "] (" + quoted(left, 40) + ", " + quoted(right, 40) + "): " + why,
          "model.merges");
    };
    if (left.empty() || right.empty()) return refuse("a part is empty");
    joined.assign(left).append(right);
    const auto left_id = find(left), right_id = find(right), merged_id = find(joined);
    if (!left_id || !right_id) return refuse("a part is not in the vocabulary");
    if (!merged_id) return refuse("the merged token is not in the vocabulary");
    ranks_.set(*left_id, *right_id, static_cast<std::uint32_t>(rank));
    merged_.push_back(*merged_id);
  }
  config_.merges.clear();
  config_.merges.shrink_to_fit();
  return {};
}

void Bpe::index_characters() {
  direct_.assign(kDirectLimit, -1);
  std::string text;
  for (char32_t code_point = 0; code_point < kDirectLimit; ++code_point) {
    text.clear();
    utf8_append(code_point, &text);
    if (const auto id = find(text)) direct_[code_point] = *id;
  }
  byte_ids_.assign(256, -1);
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) {
    const std::string name = {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
    if (const auto id = find(name)) byte_ids_[byte] = *id;
  }
}

std::optional<Token> Bpe::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string_view> Bpe::token(Token id) const {
  if (id < 0 || id >= id_limit() || by_id_[id] < 0) return std::nullopt;
  return config_.vocab[by_id_[id]].first;
}

std::optional<Token> Bpe::character(std::string_view text) const {
  if (text.size() > 2) return find(text);
  std::size_t position = 0;
  const Token id = direct_[utf8_next(text, &position)];
  if (id < 0) return std::nullopt;
  return id;
}

bool Bpe::append_bytes(std::string_view text, std::vector<Symbol>* symbols) const {
  for (const char byte : text) {
    if (byte_ids_[static_cast<unsigned char>(byte)] < 0) return false;
  }
  for (const char byte : text) symbols->push_back({byte_ids_[static_cast<unsigned char>(byte)], 0, 0, true});
  return true;
}

// One symbol per character. An unknown token waits until a known character or the end, because
// with fuse_unk a run of unknown characters is one token; bytes given by byte_fallback do not end
// the wait, as in the reference library.
Status Bpe::split_characters(std::string_view piece, std::vector<Symbol>* symbols) const {
  Token unknown = -1;
  const auto flush = [&] {
    if (unknown >= 0) symbols->push_back({unknown, 0, 0, true});
    unknown = -1;
  };
  for (std::size_t begin = 0; begin < piece.size();) {
    const std::string_view text = piece.substr(begin, utf8_length(piece[begin]));
    begin += text.size();
    if (const auto id = character(text)) {
      flush();
      symbols->push_back({*id, 0, 0, true});
      continue;
    }
    if (config_.byte_fallback && append_bytes(text, symbols)) continue;
    if (!config_.unk_token) continue;  // without unk_token the reference library drops the character
    if (!config_.fuse_unk) flush();
    const auto id = find(*config_.unk_token);
    if (!id) return data_loss("model.unk_token is not in the vocabulary", "model.unk_token");
    unknown = *id;
  }
  flush();
  return {};
}

// Lowest rank first, leftmost first among equals: a heap of (rank, position) over a linked list.
// An entry is stale when the pair now at its position no longer merges into the same token.
void Bpe::merge_all(const std::vector<bool>* forbidden, std::vector<Symbol>* symbols_in) const {
  auto& symbols = *symbols_in;
  const auto size = static_cast<std::int32_t>(symbols.size());
  std::vector<std::uint64_t> heap;
  const auto candidate = [&](std::int32_t left, std::int32_t right) {
    const std::uint32_t rank = ranks_.find(symbols[left].id, symbols[right].id);
    if (rank == PairRanks::kNone || is_forbidden(forbidden, merged_[rank])) return false;
    heap.push_back((static_cast<std::uint64_t>(rank) << 32) | static_cast<std::uint32_t>(left));
    return true;
  };
  for (std::int32_t i = 0; i < size; ++i) {
    symbols[i].prev = i - 1;
    symbols[i].next = i + 1 < size ? i + 1 : -1;
    if (i + 1 < size) candidate(i, i + 1);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto position = static_cast<std::int32_t>(heap.back() & 0xFFFFFFFFu);
    const Token merged = merged_[heap.back() >> 32];
    heap.pop_back();
    Symbol& symbol = symbols[position];
    if (!symbol.live || symbol.next < 0) continue;
    Symbol& right = symbols[symbol.next];
    const std::uint32_t rank_now = ranks_.find(symbol.id, right.id);
    if (rank_now == PairRanks::kNone || merged_[rank_now] != merged) continue;
    symbol.id = merged;
    symbol.next = right.next;
    right.live = false;
    if (symbol.next >= 0) symbols[symbol.next].prev = position;
    const auto push = [&](std::int32_t a, std::int32_t b) {
      if (candidate(a, b)) std::push_heap(heap.begin(), heap.end(), std::greater<>());
    };
    if (symbol.prev >= 0) push(symbol.prev, position);
    if (symbol.next >= 0) push(position, symbol.next);
  }
}

Status Bpe::tokenize(std::string_view piece, const std::vector<bool>* forbidden, std::vector<Token>* out) const {
  if (piece.empty()) return {};
  if (config_.ignore_merges) {
    if (const auto id = find(piece); id && !is_forbidden(forbidden, *id)) {
      out->push_back(*id);
      return {};
    }
  }
  if (piece.size() > (std::size_t{1} << 30)) return resource_exhausted("a pre-token is longer than 1 GiB");
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  RETURN_IF_ERROR(split_characters(piece, &symbols));
  merge_all(forbidden, &symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.live) out->push_back(symbol.id);
  }
  return {};
}

}  // namespace foregate::tok
