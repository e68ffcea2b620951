// The decoders of tokenizer.json, as steps that work on a stream of tokens. What a step gives out
// is final, so the text of a reply is the same in whatever portions its tokens arrive.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer_regex.h"

namespace foregate::tok {

struct DecodeStep {
  enum class Kind { kByteLevel, kByteFallback, kFuse, kReplace, kStrip, kMetaspace, kSpaced };
  Kind kind;
  std::optional<Regex> pattern = {};  // kReplace
  std::string content = {};           // kReplace: the new text; kStrip, kMetaspace: the character
  std::size_t start = 0, stop = 0;    // kStrip: characters to remove at most
  bool drop_first = false;            // kMetaspace: the mark of the first token becomes nothing
  bool one_character = false;         // kReplace: the pattern is one literal character
};

// Immutable; safe to share.
class DecodeChain {
 public:
  // kUnimplemented when a step cannot be given out in portions (ByteFallback, or a Replace of more
  // than one character, behind a step that joins all tokens).
  static Result<DecodeChain> build(std::vector<DecodeStep> steps);
  const std::vector<DecodeStep>& steps() const { return steps_; }
  // Bytes of one token in the middle of a text.
  std::string token_bytes(std::string_view token) const;

 private:
  std::vector<DecodeStep> steps_;
};

// One run of the chain. One owner, one thread.
class DecodeRun {
 public:
  explicit DecodeRun(const DecodeChain& chain);
  ~DecodeRun();
  void push(std::string_view token, std::string* out);
  void finish(std::string* out);

 private:
  class Stage;
  class PerToken;
  class Bytes;
  class Level;
  class Spaced;
  class StripText;
  class Output;
  std::vector<std::unique_ptr<Stage>> stages_;
  Output* output_ = nullptr;
};

// Value of a byte_fallback token "<0xNN>".
std::optional<unsigned char> byte_token_value(std::string_view token);

}  // namespace foregate::tok
