// The members that chat and completions have in common. Inner part of server/openai.
#pragma once

#include <span>

#include "server/openai/api_request.h"
#include "server/openai/fields.h"

namespace foregate {

// Fills everything but prompts, logprobs and max_tokens. Faults stay in `fields`.
void read_common_fields(Fields& fields, const ApiContext& context, ApiRequest& request);

// A member that is refused unless its value is one of `neutral` (a JSON list).
struct UnsupportedField {
  const char* name;
  const char* neutral;
};
std::span<const UnsupportedField> unsupported_fields();

// kUnimplemented for a member that would change the output and that this server does not support.
Status refuse_unsupported(const Json& body);

// Makes sampling.thinking of thinking_budget; after `reply` is known.
Status settle_thinking(ApiRequest& request, const ApiContext& context);

// Cuts prompts where that was asked for, settles max_tokens for the longest prompt (`fallback` when the client gave
// none; 0 = all that is left) and runs engine validation. `prompt_field` is the name for faults of the prompt.
Status settle_lengths(ApiRequest& request, const ApiContext& context, std::optional<std::int32_t> asked_max_tokens,
                      std::int32_t fallback, const char* prompt_field, const char* max_tokens_field);

// Text to ids within the context's bounds; faults carry `field`.
Result<std::vector<Token>> tokenize_prompt(const std::string& text, const EncodeOptions& options,
                                           const ApiContext& context, const std::string& field);

// Checks messages and template options and renders the chat template.
struct ChatPrompt {
  std::vector<Token> tokens;
  std::string text;
  std::string last_reply;  // the last message, where it is the assistant's
};
struct ToolUse;
Result<ChatPrompt> render_chat(const Json& body, const ToolUse& use, const ApiContext& context);

}  // namespace foregate
