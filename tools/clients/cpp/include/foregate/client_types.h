// What is asked of a Foregate server and what comes back. Plain values with the names, meanings, bounds and defaults of
// foregate/v1/inference.proto; what is absent takes the model's default. C++17, no header of gRPC.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace foregate::client {

using Duration = std::chrono::milliseconds;
using TokenIds = std::vector<std::int32_t>;

// The status codes of gRPC, with its numbers.
enum class Code {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16
};
const char* code_name(Code code);  // INVALID_ARGUMENT and so on

struct Error {
  Code code = Code::kOk;
  std::string message;
  std::string field;                    // the one at fault, as the server names it; empty: none
  std::optional<Duration> retry_after;  // when the server says that trying again may help
  bool ok() const { return code == Code::kOk; }
  std::string to_string() const;  // "INVALID_ARGUMENT: ..."
};

// A value or the error in its place. value() of an error throws std::bad_variant_access.
template <class T>
class Result {
 public:
  Result(T value) : held_(std::move(value)) {}
  Result(Error error) : held_(std::move(error)) {}
  bool ok() const { return held_.index() == 0; }
  explicit operator bool() const { return ok(); }
  const T& value() const& { return std::get<0>(held_); }
  T&& value() && { return std::get<0>(std::move(held_)); }
  const T& operator*() const& { return value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const { return std::get<1>(held_); }

 private:
  std::variant<T, Error> held_;
};

struct Message {
  std::string role;  // system, developer, user, assistant, tool
  std::string content;
  std::string name = {};
  std::string tool_call_id = {};
};

// A conversation for the model's chat template.
struct Chat {
  std::vector<Message> messages;
  std::string tools_json = {};                 // a JSON list; empty: none
  std::string chat_template_kwargs_json = {};  // a JSON object; empty: none
  std::optional<bool> add_generation_prompt = {};
  std::optional<bool> continue_final_message = {};
};

using Prompt = std::variant<std::string, TokenIds, Chat>;

struct Sampling {
  std::optional<float> temperature, top_p, min_p;
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<std::int32_t> top_k, min_tokens, max_tokens, n;
  std::optional<std::int32_t> logprobs;                // alternatives for each token; 0: only the chosen one
  std::optional<std::int32_t> truncate_prompt_tokens;  // only so many last tokens of the prompt; -1: as fit
  std::optional<std::int32_t> thinking_token_budget;   // of chats: tokens of thinking before the answer must follow
  std::optional<std::int64_t> seed;
  std::optional<bool> include_stop_str_in_output, ignore_eos, skip_special_tokens;
  std::map<std::int32_t, float> logit_bias;
  std::vector<std::int32_t> allowed_token_ids;  // no others come; empty: all may
  std::vector<std::string> bad_words;           // never completed in the output
  std::vector<std::int32_t> stop_token_ids;
  std::vector<std::string> stop;
};

// What the output must look like.
struct Form {
  enum class Kind { kJsonSchema, kJsonObject, kRegex, kChoice, kGrammar };
  Kind kind = Kind::kJsonObject;
  std::string text = {};                  // the schema, the pattern or the GBNF
  std::vector<std::string> choices = {};  // of kChoice
};

struct GenerateRequest {
  Prompt prompt;
  Sampling sampling = {};
  std::optional<Form> form = {};
  std::string model = {};       // empty: the one that is served
  std::string request_id = {};  // for abort(); empty: none
  std::int32_t priority = 0;    // lower is sooner; under --scheduling-policy priority only
  std::string cache_salt = {};
  std::optional<bool> add_special_tokens = {};
};

struct TokenLogprob {
  std::int32_t token = 0;
  float logprob = 0;
};
struct PositionLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};

struct Finish {
  enum class Reason { kUnspecified, kStop, kLength };
  Reason reason = Reason::kUnspecified;
  std::int32_t completion_tokens = 0;
  std::optional<std::string>
      stop_string;  // which of the request's ended it; both absent: the model's own end, or length
  std::optional<std::int32_t> stop_token;
};

struct PromptInfo {
  std::int32_t prompt_tokens = 0;
  std::int32_t cached_tokens = 0;  // found in the prefix cache
};

// What one message of a stream adds to one choice.
struct Delta {
  std::int32_t index = 0;  // of the choice
  std::string text;
  TokenIds token_ids;
  std::vector<PositionLogprobs> logprobs;
  std::optional<Finish> finish;      // on the last one of a choice
  std::optional<PromptInfo> prompt;  // on the first one of a choice
  std::string request_id;
};

struct Choice {
  std::string text;
  TokenIds token_ids;
  std::vector<PositionLogprobs> logprobs;
  Finish finish;
};

struct Reply {
  std::vector<Choice> choices;  // by index; one at least
  PromptInfo prompt;
  std::string request_id;
};

struct Tokens {
  TokenIds ids;
  std::int32_t max_model_len = 0;
};

struct Health {
  bool healthy = false;  // takes new work
  std::string status;    // ok, loading, draining, stalled or failed
};

struct ModelInfo {
  std::string model;
  std::vector<std::string> model_names;
  std::string model_path;
  std::string architecture;
  std::int64_t parameters = 0;
  std::int64_t active_parameters = 0;
  std::int32_t vocab_size = 0;
  std::int32_t max_model_len = 0;
  TokenIds eos_token_ids;
  bool has_chat_template = false;
};

struct ServerInfo {
  std::string version;
  std::string status;
  double uptime_seconds = 0;
  std::map<std::string, std::string> facts;  // what /version shows
};

struct Loads {
  std::int64_t running = 0, waiting = 0, paused = 0;
  std::int64_t kv_blocks_total = 0, kv_blocks_used = 0;
  std::uint64_t prompt_tokens_total = 0, generation_tokens_total = 0, preemptions_total = 0;
};

}  // namespace foregate::client
