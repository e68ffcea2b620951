#include <nlohmann/json.hpp>

#include "server/anthropic/messages_request.h"
#include "server/openai/responses_request.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/server/fake_engine.h"

namespace foregate {
namespace {

// A server without a model, with small bounds for what is compiled: many bodies a second.
struct Served {
  test::FakeParts parts;
  std::unique_ptr<ChatTemplate> chat_template;
  std::unique_ptr<GrammarCompiler> grammars;
  Served() {
    auto made = compile_chat_template(
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }}\n{% endfor %}"
        "{{ tools | tojson if tools }}{% if add_generation_prompt %}assistant:{% endif %}<tool_call></think>");
    CHECK(made.ok());
    chat_template = std::move(made).value();
    grammar::Vocabulary vocabulary;
    for (Token id = 0; id < test::kVocab; ++id)
      vocabulary.tokens.push_back(id < 256 ? parts.tokenizer->token_bytes(id) : "");
    vocabulary.end_ids = {test::kEos};
    grammar::GrammarLimits limits;
    limits.exprs = 20'000;
    limits.nodes = 20'000;
    limits.build_steps = 2'000'000;
    limits.prepare_visits = 100'000;
    grammars = std::make_unique<GrammarCompiler>(std::move(vocabulary), limits, std::size_t{1} << 20);
    context = parts.backend->context;
    context.grammars = grammars.get();
    context.chat_template = chat_template.get();
    context.tool_format = ToolFormat::kHermes;
    context.reasoning_format = ReasoningFormat::kThink;
    context.limits.max_model_len = 100'000;
  }
  ApiContext context;
};

// What was accepted is within the bounds that the engine counts on.
int check(const Result<ApiRequest>& made, const ApiContext& context) {
  if (!made.ok()) {
    CHECK(!made.status().message().empty());
    return 0;
  }
  const ApiRequest& request = made.value();
  CHECK(!request.prompts.empty() && request.prompts.size() <= kMaxPrompts);
  CHECK(request.n >= 1 && request.n <= context.limits.max_n);
  CHECK(request.sampling.max_tokens >= 1);
  for (const auto& prompt : request.prompts) {
    CHECK(!prompt.empty());
    CHECK(static_cast<std::int64_t>(prompt.size()) < context.limits.max_model_len);
    for (const Token id : prompt) CHECK(id >= 0 && id < context.limits.vocab_size);
  }
  return 1;
}

}  // namespace
}  // namespace foregate

int fuzz_request(std::string_view bytes) {
  using namespace foregate;
  static Served served;
  if (bytes.empty()) return 0;
  const ApiContext& context = served.context;
  const std::string_view body = bytes.substr(1);
  ResponsesEcho echo;
  switch (bytes[0]) {
    case 'c': return check(parse_chat_request(body, context), context);
    case 'p': return check(parse_completion_request(body, context), context);
    case 'r': return check(parse_responses_request(body, context, echo), context);
    case 'm': return check(parse_messages_request(body, context), context);
    case 'k': return count_tokens_body(body, context).ok() ? 1 : 0;
    case 't': return tokenize_body(body, context).ok() ? 1 : 0;
    case 'd': return detokenize_body(body, context).ok() ? 1 : 0;
    case 'a': return apply_template_body(body, context).ok() ? 1 : 0;
    default: return 0;
  }
}
