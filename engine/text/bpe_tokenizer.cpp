#include "engine/text/bpe_tokenizer.h"

#include <algorithm>
#include <utility>

#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(TokenizerParts parts, AddedTokens added);
  Result<std::vector<Token>> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const Token> ids, bool skip_special_tokens) const override;
  std::string token_bytes(Token id) const override;
  std::optional<Token> token_id(std::string_view token) const override;
  bool is_special(Token id) const override;
  std::int32_t vocab_size() const override { return vocab_size_; }
  std::unique_ptr<DecodeStream> decode_stream(bool skip_special_tokens) const override;

  const DecodeChain& decoder() const { return parts_.decoder; }
  // The text a token stands for before decoding; nullopt for unknown ids.
  std::optional<std::string_view> spelling(Token id) const;
  bool skipped(Token id) const { return static_cast<std::size_t>(id) < skipped_.size() && skipped_[id]; }

 private:
  struct Work {
    const EncodeOptions* options;
    std::vector<Token> ids;
  };
  Status encode_section(std::string_view section, std::size_t offset, Work* work) const;
  Status encode_plain(std::string_view text, bool first, Work* work) const;

  TokenizerParts parts_;
  AddedTokens added_;
  std::vector<bool> special_;  // by id: ids that a client's text must never become
  std::vector<bool> skipped_;  // by id: left out by skip_special_tokens
  std::int32_t vocab_size_ = 0;
};

BpeTokenizer::BpeTokenizer(TokenizerParts parts, AddedTokens added)
    : parts_(std::move(parts)), added_(std::move(added)) {
  vocab_size_ = parts_.model->id_limit();
  for (const auto& token : added_.tokens()) vocab_size_ = std::max(vocab_size_, token.id + 1);
  special_.assign(vocab_size_, false);
  skipped_.assign(vocab_size_, false);
  for (const auto& token : added_.tokens()) special_[token.id] = token.special;
  // The reference library compares the spelling it is about to decode, so a special token that the
  // normalizer respells is not skipped.
  for (const auto& token : added_.tokens()) {
    const auto spelled = added_.id_of(token.pattern);
    skipped_[token.id] = spelled && special_[*spelled];
  }
}

// True when [begin, end) and one of the ascending spans share a byte.
bool overlaps(std::span<const TextSpan> spans, std::size_t begin, std::size_t end) {
  const auto next =
      std::partition_point(spans.begin(), spans.end(), [&](const TextSpan& span) { return span.end <= begin; });
  return next != spans.end() && next->begin < end;
}

Result<std::vector<Token>> BpeTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (const std::size_t bad = utf8_first_error(text); bad != std::string_view::npos) {
    return invalid_argument("the text is not valid UTF-8 at byte " + std::to_string(bad));
  }
  Work work{&options, {}};
  AddedTokens::IsLiteral literal;
  if (!options.literal_spans.empty()) {
    literal = [&](std::size_t begin, std::size_t end) { return overlaps(options.literal_spans, begin, end); };
  }
  for (const AddedMatch& match : added_.split(text, false, literal)) {
    if (match.id >= 0) {
      work.ids.push_back(match.id);
    } else {
      RETURN_IF_ERROR(encode_section(text.substr(match.begin, match.end - match.begin), match.begin, &work));
    }
  }
  if (options.add_special_tokens) {
    for (const auto& around : parts_.templates) {
      work.ids.insert(work.ids.begin(), around.before.begin(), around.before.end());
      work.ids.insert(work.ids.end(), around.after.begin(), around.after.end());
    }
  }
  return std::move(work.ids);
}

// A stretch between tokens that are matched before normalization; `offset` is where it begins.
Status BpeTokenizer::encode_section(std::string_view section, std::size_t offset, Work* work) const {
  const auto spans = work->options->literal_spans;
  const bool track = added_.any(true) && overlaps(spans, offset, offset + section.size());
  NormalizedText text = untouched(section, track);
  if (parts_.normalizer) RETURN_IF_ERROR(parts_.normalizer->apply(&text));
  AddedTokens::IsLiteral literal;
  if (track) {
    literal = [&](std::size_t begin, std::size_t end) {
      const std::size_t from = offset + text.origin[begin];
      return overlaps(spans, from, std::max(from + 1, offset + text.origin[end]));
    };
  }
  for (const AddedMatch& match : added_.split(text.text, true, literal)) {
    if (match.id >= 0) {
      work->ids.push_back(match.id);
      continue;
    }
    const auto plain = std::string_view(text.text).substr(match.begin, match.end - match.begin);
    RETURN_IF_ERROR(encode_plain(plain, offset == 0 && match.begin == 0, work));
  }
  return {};
}

Status BpeTokenizer::encode_plain(std::string_view text, bool first, Work* work) const {
  PieceText pieces{std::string(text), {{0, text.size(), first}}};
  if (parts_.pre_tokenizer) RETURN_IF_ERROR(parts_.pre_tokenizer->apply(&pieces));
  const auto* forbidden = work->options->literal_spans.empty() ? nullptr : &special_;
  for (const Piece& piece : pieces.pieces) {
    const auto part = std::string_view(pieces.text).substr(piece.begin, piece.end - piece.begin);
    RETURN_IF_ERROR(parts_.model->tokenize(part, forbidden, &work->ids));
  }
  return {};
}

std::optional<std::string_view> BpeTokenizer::spelling(Token id) const {
  if (const auto* token = added_.find(id)) return token->pattern;
  return parts_.model->token(id);
}

class BpeDecodeStream : public DecodeStream {
 public:
  BpeDecodeStream(const BpeTokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_(skip_special_tokens), run_(tokenizer.decoder()) {}
  void push(Token id, std::string& out) override {
    const auto spelling = tokenizer_.spelling(id);
    if (spelling && !(skip_ && tokenizer_.skipped(id))) run_.push(*spelling, &out);
  }
  void finish(std::string& out) override { run_.finish(&out); }

 private:
  const BpeTokenizer& tokenizer_;
  bool skip_;
  DecodeRun run_;
};

std::string BpeTokenizer::decode(std::span<const Token> ids, bool skip_special_tokens) const {
  BpeDecodeStream stream(*this, skip_special_tokens);
  std::string text;
  for (const Token id : ids) stream.push(id, text);
  stream.finish(text);
  return text;
}

std::string BpeTokenizer::token_bytes(Token id) const {
  const auto text = spelling(id);
  return text ? parts_.decoder.token_bytes(*text) : std::string();
}

std::optional<Token> BpeTokenizer::token_id(std::string_view token) const {
  if (const auto id = added_.id_of(token)) return id;
  return parts_.model->find(token);
}

bool BpeTokenizer::is_special(Token id) const {
  return id >= 0 && id < vocab_size_ && special_[id];
}

std::unique_ptr<DecodeStream> BpeTokenizer::decode_stream(bool skip_special_tokens) const {
  return std::make_unique<BpeDecodeStream>(*this, skip_special_tokens);
}

}  // namespace

Result<std::unique_ptr<Tokenizer>> make_bpe_tokenizer(TokenizerParts parts, std::vector<AddedToken> added) {
  ASSIGN_OR_RETURN(auto tokens, AddedTokens::build(std::move(added)));
  for (const auto& around : parts.templates) {
    for (const auto* ids : {&around.before, &around.after}) {
      for (const Token id : *ids) {
        if (tokens.find(id) == nullptr && !parts.model->token(id)) {
          return data_loss("post_processor gives id " + std::to_string(id) + ", which no token has", "post_processor");
        }
      }
    }
  }
  return std::unique_ptr<Tokenizer>(std::make_unique<BpeTokenizer>(std::move(parts), std::move(tokens)));
}

}  // namespace foregate::tok
