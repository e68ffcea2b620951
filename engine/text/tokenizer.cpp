#include "engine/text/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/text/tokenizer_parse.h"
#include "engine/text/tokenizer_unicode.h"

namespace foregate {
namespace {

using tok::AddedMatch;

constexpr std::uint64_t kMaxFileBytes = 256u << 20;

struct Parts {
  std::unique_ptr<tok::Normalizer> normalizer;
  std::unique_ptr<tok::PreTokenizer> pre_tokenizer;
  std::vector<tok::Template> templates;
  tok::DecodeChain decoder;
  std::unique_ptr<tok::Bpe> model;
  std::vector<tok::AddedToken> added;
};

class BpeTokenizer : public Tokenizer {
 public:
  BpeTokenizer(Parts parts, tok::AddedTokens added);
  Result<std::vector<Token>> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const Token> ids, bool skip_special_tokens) const override;
  std::string token_bytes(Token id) const override;
  std::optional<Token> token_id(std::string_view token) const override;
  bool is_special(Token id) const override;
  std::int32_t vocab_size() const override { return vocab_size_; }
  std::unique_ptr<DecodeStream> decode_stream(bool skip_special_tokens) const override;

  const tok::DecodeChain& decoder() const { return parts_.decoder; }
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

  Parts parts_;
  tok::AddedTokens added_;
  std::vector<bool> special_;  // by id: ids that a client's text must never become
  std::vector<bool> skipped_;  // by id: left out by skip_special_tokens
  std::int32_t vocab_size_ = 0;
};

BpeTokenizer::BpeTokenizer(Parts parts, tok::AddedTokens added) : parts_(std::move(parts)), added_(std::move(added)) {
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
  if (const std::size_t bad = tok::utf8_first_error(text); bad != std::string_view::npos) {
    return invalid_argument("the text is not valid UTF-8 at byte " + std::to_string(bad));
  }
  Work work{&options, {}};
  tok::AddedTokens::IsLiteral literal;
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
  tok::NormalizedText text = tok::untouched(section, track);
  if (parts_.normalizer) RETURN_IF_ERROR(parts_.normalizer->apply(&text));
  tok::AddedTokens::IsLiteral literal;
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
  tok::PieceText pieces{std::string(text), {{0, text.size(), first}}};
  if (parts_.pre_tokenizer) RETURN_IF_ERROR(parts_.pre_tokenizer->apply(&pieces));
  const auto* forbidden = work->options->literal_spans.empty() ? nullptr : &special_;
  for (const tok::Piece& piece : pieces.pieces) {
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
  tok::DecodeRun run_;
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

const nlohmann::json& section(const nlohmann::json& file, const char* key) {
  static const nlohmann::json kNull;
  const auto found = file.find(key);
  return found == file.end() ? kNull : *found;
}

Result<std::unique_ptr<Tokenizer>> build(tok::TokenizerJson file) {
  const auto tree = file.rest;
  Parts parts;
  ASSIGN_OR_RETURN(parts.model, tok::parse_model(std::move(file)));
  ASSIGN_OR_RETURN(parts.normalizer, tok::parse_normalizer(section(*tree, "normalizer"), "normalizer"));
  ASSIGN_OR_RETURN(parts.pre_tokenizer, tok::parse_pre_tokenizer(section(*tree, "pre_tokenizer"), "pre_tokenizer"));
  ASSIGN_OR_RETURN(auto steps, tok::parse_decoder(section(*tree, "decoder"), "decoder"));
  ASSIGN_OR_RETURN(parts.decoder, tok::DecodeChain::build(std::move(steps)));
  RETURN_IF_ERROR(tok::parse_post_processor(section(*tree, "post_processor"), "post_processor", &parts.templates));
  ASSIGN_OR_RETURN(auto listed,
                   tok::parse_added_tokens(section(*tree, "added_tokens"), *parts.model, parts.normalizer.get()));
  ASSIGN_OR_RETURN(auto added, tok::AddedTokens::build(std::move(listed)));
  for (const auto& around : parts.templates) {
    for (const auto* ids : {&around.before, &around.after}) {
      for (const Token id : *ids) {
        if (added.find(id) == nullptr && !parts.model->token(id)) {
          return data_loss("post_processor gives id " + std::to_string(id) + ", which no token has", "post_processor");
        }
      }
    }
  }
  return std::unique_ptr<Tokenizer>(std::make_unique<BpeTokenizer>(std::move(parts), std::move(added)));
}

}  // namespace

std::unique_ptr<DecodeStream> Tokenizer::decode_stream(bool) const {
  return nullptr;
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(auto text, read_text(files, path, kMaxFileBytes));
  auto file = tok::read_tokenizer_json(text);
  text = {};
  auto made = file.ok() ? build(std::move(file).value()) : Result<std::unique_ptr<Tokenizer>>(file.status());
  if (made.ok()) return made;
  return Status(made.status().code(), path + ": " + made.status().message(), made.status().field());
}

}  // namespace foregate
