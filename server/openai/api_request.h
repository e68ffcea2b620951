// A request body of the OpenAI-compatible API as checked, typed values. Parsing renders the chat
// template and tokenizes, so it belongs on a worker thread; all functions are pure.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/types.h"
#include "engine/grammar/compile.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "server/reply/reply_form.h"

namespace foregate {

enum class ApiKind { kChat, kCompletion };

struct ApiRequest {
  ApiKind kind = ApiKind::kChat;
  std::string model;       // as asked for; may be empty
  std::string request_id;  // the client's name for it; may be empty
  std::vector<std::vector<Token>> prompts;
  std::vector<std::string> prompt_texts;  // one per prompt, filled when echo is on; of a chat the reply it goes on from
  SamplingParams sampling;
  std::int32_t n = 1;
  std::vector<std::string> stop;
  bool include_stop = false;
  bool skip_special_tokens = true;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool return_progress = false;    // of streams: how far the prompt is, while it is computed
  bool timings_per_token = false;  // of streams: with every chunk
  bool echo = false;
  bool return_token_ids = false;
  bool tokens_as_ids = false;                   // tokens beside log-probabilities are called token_id:N
  std::optional<std::int32_t> prompt_logprobs;  // alternatives for each token of the prompt; not of streams
  std::optional<std::int32_t> truncate_prompt;  // only so many last tokens of a prompt; -1: as fit the model
  std::optional<std::int32_t> thinking_budget;  // tokens, until settled as sampling.thinking
  std::string cache_salt;                       // requests of other salts share no cached prefix with this one
  std::int32_t priority = 0;
  std::shared_ptr<const TokenConstraint> constraint;  // the form of the output; null: any
  std::optional<ReplyForm> reply;     // how reasoning and calls are told from content; none: all is content
  std::vector<Token> shown_specials;  // special tokens that the reader of the reply must see
};

// What parsing needs to know of the model and the server. Immutable while requests are parsed.
struct ApiContext {
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // null: chat is refused
  GrammarCompiler* grammars = nullptr;          // null: no form of the output can be asked for
  std::string bos_token;
  std::string eos_token;
  std::vector<std::string> model_names;  // what `model` may say; the first is the one shown
  GenerationDefaults defaults;
  Limits limits;
  ToolFormat tool_format = ToolFormat::kNone;  // how the model writes calls
  ReasoningFormat reasoning_format = ReasoningFormat::kNone;
  bool auto_tool_choice = true;      // the model may decide by itself to call tools
  bool priorities = false;           // a request may have a priority other than 0
  std::size_t max_prompt_bytes = 0;  // a longer text cannot fit the model; 0 = not known
  std::int64_t now_unix_seconds = 0;
};

// Errors: kInvalidArgument and kUnimplemented name the field; kNotFound for a model not served here.
Result<ApiRequest> parse_chat_request(std::string_view body, const ApiContext& context);
Result<ApiRequest> parse_completion_request(std::string_view body, const ApiContext& context);
// The same of a body that another protocol has made: one set of checks for all.
Result<ApiRequest> read_chat_request(const nlohmann::ordered_json& body, const ApiContext& context);
Result<ApiRequest> read_completion_request(const nlohmann::ordered_json& body, const ApiContext& context);

// The tokens of {"prompt": text} or {"messages": [...]}.
Result<std::vector<Token>> read_tokenize(const nlohmann::ordered_json& body, const ApiContext& context);
// POST /tokenize: {"prompt": text} or {"messages": [...]}; gives the response body.
Result<std::string> tokenize_body(std::string_view body, const ApiContext& context);
// POST /apply-template: {"prompt": text} of {"messages": [...]}.
Result<std::string> apply_template_body(std::string_view body, const ApiContext& context);
// POST /detokenize: {"tokens": [...]}.
Result<std::string> detokenize_body(std::string_view body, const ApiContext& context);

}  // namespace foregate
