// Text to token ids and back, from a Hugging Face tokenizer.json (BPE models). Immutable after
// load; safe to share between threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/types.h"
#include "engine/base/status.h"
#include "engine/io/file.h"

namespace foregate {

// Half-open byte range of a text.
struct TextSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};

struct EncodeOptions {
  bool add_special_tokens = false;  // run the TemplateProcessing post-processor (BOS and the like)
  // Byte ranges, ascending, in which a special token's spelling is ordinary text: what a client wrote
  // cannot become structure.
  std::span<const TextSpan> literal_spans = {};
};

// Decodes one reply token by token. Appends to `out` the text that later tokens cannot change any
// more, always whole UTF-8 characters. One owner, one thread; must not outlive its tokenizer.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  virtual void push(Token id, std::string& out) = 0;
  virtual void finish(std::string& out) = 0;  // what was held back; the stream is then at its end
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // kInvalidArgument when the text is not valid UTF-8.
  virtual Result<std::vector<Token>> encode(std::string_view text, const EncodeOptions& options = {}) const = 0;
  virtual std::string decode(std::span<const Token> ids, bool skip_special_tokens = true) const = 0;
  // Raw bytes of one token as the decoder would give them in the middle of a text (may be part of a
  // UTF-8 character); empty for unknown ids.
  virtual std::string token_bytes(Token id) const = 0;
  virtual std::optional<Token> token_id(std::string_view token) const = 0;
  virtual bool is_special(Token id) const = 0;
  virtual std::int32_t vocab_size() const = 0;  // largest id + 1
  // Null: Detokenizer then joins token_bytes() and holds back what is not yet a whole character.
  virtual std::unique_ptr<DecodeStream> decode_stream(bool skip_special_tokens) const;
};

// Parses tokenizer.json. Anything the file asks for that is not supported is refused by name.
Result<std::unique_ptr<Tokenizer>> load_tokenizer(const FileSystem& files, const std::string& path);

// Streaming detokenizer of one sample: never gives half a UTF-8 character. What push() returns over
// a whole reply, plus finish(), equals Tokenizer::decode of all its ids.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens);
  ~Detokenizer();
  Detokenizer(Detokenizer&&) noexcept;
  std::string push(Token id);
  std::string finish();  // what was held back; broken bytes become U+FFFD

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foregate
