#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_unicode.h"

namespace foregate {
namespace {

// For tokenizers without a stream of their own: their bytes in a row, made valid UTF-8.
class JoinedBytes : public DecodeStream {
 public:
  JoinedBytes(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_(skip_special_tokens) {}
  void push(Token id, std::string& out) override {
    if (!skip_ || !tokenizer_.is_special(id)) repair_.push(tokenizer_.token_bytes(id), &out);
  }
  void finish(std::string& out) override { repair_.finish(&out); }

 private:
  const Tokenizer& tokenizer_;
  bool skip_;
  tok::Utf8Repair repair_;
};

}  // namespace

struct Detokenizer::Impl {
  std::unique_ptr<DecodeStream> stream;
};

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens) : impl_(std::make_unique<Impl>()) {
  impl_->stream = tokenizer.decode_stream(skip_special_tokens);
  if (!impl_->stream) impl_->stream = std::make_unique<JoinedBytes>(tokenizer, skip_special_tokens);
}

Detokenizer::~Detokenizer() = default;
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;

std::string Detokenizer::push(Token id) {
  std::string out;
  impl_->stream->push(id, out);
  return out;
}

std::string Detokenizer::finish() {
  std::string out;
  impl_->stream->finish(out);
  return out;
}

}  // namespace foregate
