// Turns the TokenEvents of one sample into text: detokenizes, watches for stop strings, counts
// tokens, and ends exactly once. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/api/types.h"
#include "engine/text/tokenizer.h"
#include "server/reply/reply_reader.h"
#include "server/stream/stop_matcher.h"

namespace foregate {

struct SampleOptions {
  std::vector<std::string> stop;
  bool include_stop = false;  // the stop string or stop token stays in the text
  bool skip_special_tokens = true;
  std::vector<Token> shown_specials;  // of those that are skipped: what the reader of the reply must see
  std::optional<ReplyForm> reply;     // the text is read into pieces
  std::int32_t min_tokens = 0;        // stop strings are not looked for in the text of these first tokens
};

// How a sample ended. kStop and kLength are answers; kCancelled and kError are failures.
struct SampleEnd {
  FinishReason reason = FinishReason::kStop;
  std::optional<std::string> stop_string;
  std::optional<Token> stop_token;  // set for a token other than an end-of-sequence one
  Status error;                     // of kCancelled and kError
};

// What one event added. `tokens` and `logprobs` are those decided since the last delta that was
// not empty; a token whose text is held back comes with the text.
struct SampleDelta {
  std::string text;
  std::vector<ReplyPiece> pieces;  // the same read into pieces, where that was asked for; some of it may be held back
  std::vector<Token> tokens;
  std::vector<PositionLogprobs> logprobs;
  std::optional<SampleEnd> end;
  bool empty() const { return text.empty() && !end; }
};

class SampleText {
 public:
  SampleText(const Tokenizer& tokenizer, SampleOptions options);
  // After the end every further event gives an empty delta. When a stop string ends the sample
  // before the engine does, stopped_early() becomes true and the caller cancels the index.
  SampleDelta push(const TokenEvent& event, const std::vector<Token>& eos_token_ids);
  bool ended() const { return ended_; }
  bool stopped_early() const { return stopped_early_; }
  std::int32_t completion_tokens() const { return completion_tokens_; }  // with the one that ended it
  std::int32_t reasoning_tokens() const { return reasoning_tokens_; }    // of those, with its marks

 private:
  bool shown(Token token) const;
  void add(const std::string& text, SampleDelta& delta);
  void take(Token token, SampleDelta& delta);
  void end_by_engine(const TokenEvent& event, const std::vector<Token>& eos_token_ids, SampleDelta& delta);

  const Tokenizer& tokenizer_;
  SampleOptions options_;
  Detokenizer detokenizer_;
  StopMatcher matcher_;
  std::optional<ReplyReader> reader_;
  std::vector<Token> tokens_;  // not yet given out
  std::vector<PositionLogprobs> logprobs_;
  std::int32_t completion_tokens_ = 0;
  std::int32_t reasoning_tokens_ = 0;
  bool ended_ = false;
  bool stopped_early_ = false;
};

}  // namespace foregate
