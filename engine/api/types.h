// Plain types shared by the front ends and the engine. A Request is immutable after submit and
// has passed validate(); nothing below checks ranges again.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/api/constraint.h"
#include "engine/api/limits.h"
#include "engine/base/clock.h"
#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace foregate {

using Token = std::int32_t;

// The caps of limits.def that the engine checks too, and those that follow from the model.
struct Limits {
  std::int32_t max_model_len = 2048;  // prompt + generated tokens of one sequence
  std::int32_t vocab_size = 0;
  std::int32_t max_n{kMaxSamples};  // parallel samples; charged as n queue slots
  std::int32_t max_logprobs{kMaxLogprobs};
  std::int32_t max_logit_bias{kMaxLogitBias};    // entries
  std::int32_t max_allowed_ids{kMaxAllowedIds};  // of allowed_token_ids
  std::int32_t max_bad_words{kMaxBadWords};
  std::int32_t max_bad_word_bytes{kMaxBadWordBytes};
  std::int32_t max_stop_ids{kMaxStopIds};
  std::int32_t max_stop_strings{kMaxStopStrings};
  std::int32_t max_stop_bytes{kMaxStopBytes};  // of one stop string
  std::int32_t max_salt_bytes{kMaxSaltBytes};  // of cache_salt
};

// How long a model may think before it answers: after `tokens` of it the marks that end it follow, whatever the model
// would say.
struct ThinkingBudget {
  std::int32_t tokens = 0;
  std::vector<Token> open;   // what begins it
  std::vector<Token> close;  // what ends it; not empty
  bool begun = false;        // the prompt ends within it
};

struct SamplingParams {
  float temperature = 1.0f;                         // 0 = greedy; at most 100
  std::int32_t top_k = 0;                           // 0 or -1 = off
  float top_p = 1.0f;                               // (0, 1]
  float min_p = 0.0f;                               // [0, 1]
  float repetition_penalty = 1.0f;                  // > 0; prompt and output (CTRL, arXiv 1909.05858)
  float presence_penalty = 0.0f;                    // [-2, 2]; output only
  float frequency_penalty = 0.0f;                   // [-2, 2]; output only
  std::vector<std::pair<Token, float>> logit_bias;  // [-100, 100]
  std::vector<Token> allowed_token_ids;             // no others come, ends of the sequence neither; empty: all
  std::vector<std::vector<Token>> bad_words;        // never completed in the output; none is empty
  std::optional<ThinkingBudget> thinking;
  std::vector<Token> stop_token_ids;
  std::int32_t min_tokens = 0;
  std::int32_t max_tokens = 16;
  bool ignore_eos = false;
  std::optional<std::int32_t> logprobs;  // number of top alternatives; set and 0 = chosen token only
  std::optional<std::uint64_t> seed;     // none: the engine draws one per request
};

struct Request {
  RequestId id;  // unique in the process; made by the front end
  std::vector<Token> prompt;
  SamplingParams sampling;
  std::int32_t n = 1;
  std::optional<std::int32_t> prompt_logprobs;
  std::string cache_salt;                             // requests of other salts never share blocks with this one
  std::uint64_t client = 0;                           // whose request it is, for fair shares
  std::shared_ptr<const TokenConstraint> constraint;  // the form of the output; null: any
  std::int32_t priority = 0;                          // lower is sooner, where the scheduling policy looks at it
  bool progress = false;                              // events tell how far its prompt is
  TimeNs arrival = 0;
  TimeNs deadline = 0;  // 0 = none
};

// What a model's generation_config.json asks for; a front end uses it where a request is silent.
struct GenerationDefaults {
  std::optional<float> temperature;
  std::optional<std::int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<float> repetition_penalty;
  std::optional<std::int32_t> max_tokens;
};

// Checks every bound of a request against the limits. The Status names the OpenAI field.
Status validate(const Request& request, const Limits& limits);

enum class FinishReason : std::uint8_t { kStop, kLength, kCancelled, kError };
const char* finish_reason_name(FinishReason reason);  // stop | length | cancelled | error

struct TokenLogprob {
  Token token = 0;
  float logprob = 0.0f;
};

// Logprobs of one emitted position: the chosen token, then the top alternatives, best first.
struct PositionLogprobs {
  TokenLogprob chosen;
  std::int32_t rank = 0;  // of the chosen token among all, from 1 for the likeliest
  std::vector<TokenLogprob> top;
};

// How far a prompt is: after each step that computed some of it, the last one among them.
struct PromptProgress {
  std::int32_t computed = 0;  // of its tokens, those found in the prefix cache among them
  TimeNs spent = 0;           // since its first step began
};

// What the engine tells about one sample (`index` of n) of a request. Exactly one event per index
// carries a finish; after it nothing follows for that index.
struct TokenEvent {
  RequestId request;
  std::int32_t index = 0;
  std::vector<Token> tokens;                      // newly decided, in order
  std::vector<PositionLogprobs> logprobs;         // one per token when asked for
  std::vector<PositionLogprobs> prompt_logprobs;  // once, on the first event, when asked for (first entry empty)
  std::optional<FinishReason> finish;
  Token stop_token = -1;                   // the id that ended it, if an id did; it is not in `tokens`
  std::int32_t cached_tokens = 0;          // prompt tokens served from the prefix cache
  Status error;                            // set when finish == kError
  std::int32_t drafted = 0;                // rows of a draft beside them
  std::int32_t drafts_stood = 0;           // of these
  std::optional<PromptProgress> progress;  // when asked for, of index 0
  TimeNs began_at = 0;                     // when its first step began, by the engine's clock; 0: not said
  TimeNs decided_at = 0;                   // when the step that decided the tokens ended, by the same; 0: not said
};

}  // namespace foregate
