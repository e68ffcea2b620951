#include "engine/text/gguf_vocab.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "engine/base/log.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/gguf_pre.h"
#include "engine/text/tokenizer_json.h"
#include "engine/text/tokenizer_unicode.h"

namespace foregate {
namespace {

using tok::AddedToken;
using tok::Bpe;
using tok::BpeConfig;
using tok::DecodeStep;

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kMerges = "tokenizer.ggml.merges";
constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581, SentencePiece's space
constexpr std::size_t kMaxPieceBytes = 256;              // of SentencePiece: every cut of a piece is looked up

GgufTokenType type_of(const GgufVocab& vocab, std::size_t id) {
  return vocab.types.empty() ? GgufTokenType::kNormal : vocab.types[id];
}

// Converters fill ids that no token has with "[PAD<id>]".
bool is_filler(const GgufVocab& vocab, std::size_t id) {
  return type_of(vocab, id) == GgufTokenType::kUnused && vocab.tokens[id] == "[PAD" + std::to_string(id) + "]";
}

Status check_vocab(const GgufVocab& vocab) {
  const std::size_t count = vocab.tokens.size();
  if (count == 0) return data_loss(std::string(kTokens) + " is missing or empty", kTokens);
  if (count > tok::TokenizerJson::kMaxVocab) return data_loss(std::string(kTokens) + " has too many entries", kTokens);
  if (vocab.merges.size() > tok::TokenizerJson::kMaxMerges) {
    return data_loss(std::string(kMerges) + " has too many entries", kMerges);
  }
  if (!vocab.types.empty() && vocab.types.size() != count) {
    return data_loss("tokenizer.ggml.token_type has " + std::to_string(vocab.types.size()) + " entries for " +
                         std::to_string(count) + " tokens",
                     "tokenizer.ggml.token_type");
  }
  for (std::size_t id = 0; id < count; ++id) {
    if (tok::utf8_first_error(vocab.tokens[id]) == std::string_view::npos) continue;
    return data_loss(std::string(kTokens) + "[" + std::to_string(id) + "] is not valid UTF-8", kTokens);
  }
  return {};
}

// Tokens that are matched as wholes, whatever the model would make of their text.
std::vector<AddedToken> added_tokens(const GgufVocab& vocab) {
  std::vector<AddedToken> added;
  for (std::size_t id = 0; id < vocab.tokens.size(); ++id) {
    const GgufTokenType type = type_of(vocab, id);
    const bool special = type == GgufTokenType::kControl || type == GgufTokenType::kUnknown;
    if ((!special && type != GgufTokenType::kUserDefined) || vocab.tokens[id].empty()) continue;
    AddedToken token;
    token.content = token.pattern = vocab.tokens[id];
    token.id = static_cast<Token>(id);
    token.normalized = false;
    token.special = special;
    added.push_back(std::move(token));
  }
  return added;
}

std::vector<std::pair<std::string, std::int64_t>> model_vocab(GgufVocab& vocab) {
  std::vector<std::pair<std::string, std::int64_t>> entries;
  entries.reserve(vocab.tokens.size());
  for (std::size_t id = 0; id < vocab.tokens.size(); ++id) {
    if (vocab.tokens[id].empty() || is_filler(vocab, id)) continue;
    entries.emplace_back(std::move(vocab.tokens[id]), static_cast<std::int64_t>(id));
  }
  return entries;
}

Status add_template(const GgufVocab& vocab, bool add_bos_default, tok::TokenizerParts& parts) {
  tok::Template around;
  if (vocab.add_bos.value_or(add_bos_default)) {
    if (vocab.bos < 0) return data_loss("add_bos_token is set without bos_token_id", "tokenizer.ggml.bos_token_id");
    around.before.push_back(vocab.bos);
  }
  if (vocab.add_eos.value_or(false)) {
    if (vocab.eos < 0) return data_loss("add_eos_token is set without eos_token_id", "tokenizer.ggml.eos_token_id");
    around.after.push_back(vocab.eos);
  }
  parts.templates.push_back(std::move(around));
  return {};
}

Result<BpeConfig> byte_level_config(GgufVocab& vocab, const tok::GgufPreTokenizer& pre) {
  BpeConfig config;
  config.ignore_merges = pre.ignore_merges;
  if (vocab.merges.empty()) return data_loss(std::string(kMerges) + " is missing or empty", kMerges);
  for (std::size_t i = 0; i < vocab.merges.size(); ++i) {
    const std::string& merge = vocab.merges[i];
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string::npos) {
      return data_loss(std::string(kMerges) + "[" + std::to_string(i) + "] is not two parts with a space between",
                       kMerges);
    }
    config.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  vocab.merges = {};
  config.vocab = model_vocab(vocab);
  return config;
}

Result<std::unique_ptr<tok::PreTokenizer>> byte_level_splits(const tok::GgufPreTokenizer& pre) {
  std::vector<std::unique_ptr<tok::PreTokenizer>> steps;
  for (const std::string_view pattern : pre.patterns) {
    ASSIGN_OR_RETURN(auto regex, tok::Regex::compile(pattern, "tokenizer.ggml.pre"));
    steps.push_back(tok::make_split(std::move(regex), tok::SplitBehavior::kIsolated, false));
  }
  steps.push_back(tok::make_byte_level(false, nullptr));
  return tok::make_pre_tokenizer_sequence(std::move(steps));
}

Result<std::unique_ptr<Tokenizer>> make_byte_level(GgufVocab vocab) {
  if (vocab.pre.empty()) {
    log_warn("the GGUF file has no tokenizer.ggml.pre: its prompts are split as \"default\", which may not be right");
    vocab.pre = "default";
  }
  const tok::GgufPreTokenizer* pre = tok::find_gguf_pre_tokenizer(vocab.pre);
  if (pre == nullptr) {
    return unimplemented("tokenizer.ggml.pre " + quoted(vocab.pre, 40) + " is not supported", "tokenizer.ggml.pre");
  }
  tok::TokenizerParts parts;
  auto added = added_tokens(vocab);
  RETURN_IF_ERROR(add_template(vocab, pre->add_bos, parts));
  ASSIGN_OR_RETURN(BpeConfig config, byte_level_config(vocab, *pre));
  ASSIGN_OR_RETURN(parts.model, Bpe::build(std::move(config)));
  if (pre->nfc) parts.normalizer = tok::make_unicode_normalizer(tok::UnicodeForm::kNfc);
  ASSIGN_OR_RETURN(parts.pre_tokenizer, byte_level_splits(*pre));
  ASSIGN_OR_RETURN(parts.decoder, tok::DecodeChain::build({{.kind = DecodeStep::Kind::kByteLevel}}));
  return tok::make_bpe_tokenizer(std::move(parts), std::move(added));
}

struct ScoredMerge {
  float score;
  Token piece, left, right;
};

// SentencePiece merges the neighbours that make the piece of the best score. As merges of BPE: each way to cut a piece
// in two pieces, by falling score, and in the order of their ids where scores are equal, as tokenizer.json has them.
Result<std::vector<ScoredMerge>> scored_merges(const GgufVocab& vocab) {
  std::unordered_map<std::string_view, Token> ids;
  for (std::size_t id = 0; id < vocab.tokens.size(); ++id) {
    if (!vocab.tokens[id].empty() && !is_filler(vocab, id)) ids.emplace(vocab.tokens[id], static_cast<Token>(id));
  }
  std::vector<ScoredMerge> merges;
  for (const auto& [text, id] : ids) {
    const std::size_t at = static_cast<std::size_t>(id);
    const GgufTokenType type = type_of(vocab, at);
    if (type != GgufTokenType::kNormal && type != GgufTokenType::kUnused && type != GgufTokenType::kUndefined) continue;
    if (text.size() > kMaxPieceBytes) {
      return data_loss(std::string(kTokens) + "[" + std::to_string(id) + "] is longer than " +
                           std::to_string(kMaxPieceBytes) + " bytes",
                       kTokens);
    }
    for (std::size_t cut = tok::utf8_length(text[0]); cut < text.size(); cut += tok::utf8_length(text[cut])) {
      const auto left = ids.find(text.substr(0, cut)), right = ids.find(text.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      merges.push_back({vocab.scores[at], id, left->second, right->second});
    }
  }
  std::sort(merges.begin(), merges.end(), [](const ScoredMerge& a, const ScoredMerge& b) {
    if (a.score != b.score) return a.score > b.score;
    return std::tie(a.piece, a.left, a.right) < std::tie(b.piece, b.left, b.right);
  });
  return merges;
}

Result<BpeConfig> sentencepiece_config(GgufVocab& vocab) {
  BpeConfig config;
  config.fuse_unk = true;
  config.byte_fallback = true;
  if (vocab.unknown >= 0 && static_cast<std::size_t>(vocab.unknown) < vocab.tokens.size()) {
    config.unk_token = vocab.tokens[static_cast<std::size_t>(vocab.unknown)];
  }
  ASSIGN_OR_RETURN(const auto merges, scored_merges(vocab));
  if (merges.size() > tok::TokenizerJson::kMaxMerges) return data_loss("the pieces have too many merges", kTokens);
  config.merges.reserve(merges.size());
  for (const ScoredMerge& merge : merges) {
    config.merges.emplace_back(vocab.tokens[static_cast<std::size_t>(merge.left)],
                               vocab.tokens[static_cast<std::size_t>(merge.right)]);
  }
  config.vocab = model_vocab(vocab);
  return config;
}

// U+2581 stands for a space, bytes for what has no piece; the space put before a text is taken away again.
Result<tok::DecodeChain> sentencepiece_decoder(bool space_prefix) {
  std::vector<DecodeStep> steps;
  ASSIGN_OR_RETURN(auto mark, tok::Regex::literal(kSpaceMark, kTokens));
  steps.push_back(
      {.kind = DecodeStep::Kind::kReplace, .pattern = std::move(mark), .content = " ", .one_character = true});
  steps.push_back({.kind = DecodeStep::Kind::kByteFallback});
  steps.push_back({.kind = DecodeStep::Kind::kFuse});
  if (space_prefix) steps.push_back({.kind = DecodeStep::Kind::kStrip, .content = " ", .start = 1});
  return tok::DecodeChain::build(std::move(steps));
}

Result<std::unique_ptr<Tokenizer>> make_sentencepiece(GgufVocab vocab) {
  if (vocab.scores.size() != vocab.tokens.size()) {
    return data_loss("tokenizer.ggml.scores has " + std::to_string(vocab.scores.size()) + " entries for " +
                         std::to_string(vocab.tokens.size()) + " tokens",
                     "tokenizer.ggml.scores");
  }
  for (const float score : vocab.scores) {
    if (std::isnan(score)) return data_loss("tokenizer.ggml.scores holds a NaN", "tokenizer.ggml.scores");
  }
  tok::TokenizerParts parts;
  auto added = added_tokens(vocab);
  RETURN_IF_ERROR(add_template(vocab, true, parts));
  ASSIGN_OR_RETURN(BpeConfig config, sentencepiece_config(vocab));
  ASSIGN_OR_RETURN(parts.model, Bpe::build(std::move(config)));
  const bool space_prefix = vocab.add_space_prefix.value_or(true);
  std::vector<std::unique_ptr<tok::Normalizer>> steps;
  if (space_prefix) steps.push_back(tok::make_prepend(std::string(kSpaceMark)));
  ASSIGN_OR_RETURN(auto space, tok::Regex::literal(" ", kTokens));
  steps.push_back(tok::make_replace(std::move(space), std::string(kSpaceMark)));
  parts.normalizer = tok::make_normalizer_sequence(std::move(steps));
  ASSIGN_OR_RETURN(parts.decoder, sentencepiece_decoder(space_prefix));
  return tok::make_bpe_tokenizer(std::move(parts), std::move(added));
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_gguf_tokenizer(GgufVocab vocab) {
  RETURN_IF_ERROR(check_vocab(vocab));
  if (vocab.model == "gpt2") return make_byte_level(std::move(vocab));
  if (vocab.model == "llama") return make_sentencepiece(std::move(vocab));
  return unimplemented("tokenizer.ggml.model " + quoted(vocab.model, 40) + " is not supported; known: gpt2, llama",
                       "tokenizer.ggml.model");
}

}  // namespace foregate
