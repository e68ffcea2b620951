#include "server/stream/sample_text.h"

#include <algorithm>
#include <utility>

namespace foregate {

SampleText::SampleText(const Tokenizer& tokenizer, SampleOptions options)
    : tokenizer_(tokenizer),
      options_(std::move(options)),
      detokenizer_(tokenizer, options_.skip_special_tokens && options_.shown_specials.empty()),
      matcher_(options_.stop, options_.include_stop) {
  if (options_.reply) reader_.emplace(*options_.reply);
}

// With some specials to be shown the detokenizer skips none; that is done here.
bool SampleText::shown(Token token) const {
  if (!options_.skip_special_tokens || options_.shown_specials.empty() || !tokenizer_.is_special(token)) return true;
  return std::find(options_.shown_specials.begin(), options_.shown_specials.end(), token) !=
         options_.shown_specials.end();
}

void SampleText::add(const std::string& text, SampleDelta& delta) {
  delta.text += text;
  if (reader_) join_pieces(reader_->push(text), delta.pieces);
}

void SampleText::take(Token token, SampleDelta& delta) {
  ++completion_tokens_;
  tokens_.push_back(token);
  const std::string text = shown(token) ? detokenizer_.push(token) : std::string();
  // The token that completes min_tokens still belongs to the text that is not searched.
  add(completion_tokens_ <= options_.min_tokens ? text : matcher_.push(text), delta);
  if (reader_ && reader_->reasoning()) ++reasoning_tokens_;
}

SampleDelta SampleText::push(const TokenEvent& event, const std::vector<Token>& eos_token_ids) {
  SampleDelta delta;
  if (ended_) return delta;
  for (std::size_t i = 0; i < event.tokens.size() && !matcher_.matched(); ++i) {
    take(event.tokens[i], delta);
    if (i < event.logprobs.size()) logprobs_.push_back(event.logprobs[i]);
  }
  if (matcher_.matched()) {
    stopped_early_ = !event.finish;
    delta.end = SampleEnd{FinishReason::kStop, matcher_.match(), std::nullopt, {}};
  } else if (event.finish) {
    end_by_engine(event, eos_token_ids, delta);
  }
  ended_ = delta.end.has_value();
  if (reader_ && ended_) join_pieces(reader_->finish(), delta.pieces);
  if (!delta.empty()) {
    delta.tokens = std::exchange(tokens_, {});
    delta.logprobs = std::exchange(logprobs_, {});
  }
  return delta;
}

void SampleText::end_by_engine(const TokenEvent& event, const std::vector<Token>& eos_token_ids, SampleDelta& delta) {
  SampleEnd end;
  end.reason = *event.finish;
  if (event.stop_token >= 0) {
    ++completion_tokens_;
    const bool is_eos = std::find(eos_token_ids.begin(), eos_token_ids.end(), event.stop_token) != eos_token_ids.end();
    if (!is_eos) end.stop_token = event.stop_token;
    const bool kept = options_.include_stop && shown(event.stop_token);
    if (kept) add(matcher_.push(detokenizer_.push(event.stop_token)), delta);
  }
  if (end.reason == FinishReason::kError) end.error = event.error.ok() ? internal_error("failed") : event.error;
  if (end.reason == FinishReason::kCancelled) end.error = Status(Code::kCancelled, "the request was cancelled");
  // The text's end may still complete a stop string: bytes the detokenizer held back.
  if (!matcher_.matched()) add(matcher_.push(detokenizer_.finish()), delta);
  if (matcher_.matched() && end.error.ok()) {
    end = SampleEnd{FinishReason::kStop, matcher_.match(), std::nullopt, {}};
  } else {
    add(matcher_.finish(), delta);
  }
  delta.end = std::move(end);
}

}  // namespace foregate
