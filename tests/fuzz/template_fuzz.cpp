#include <nlohmann/json.hpp>

#include "engine/text/chat_template.h"
#include "kernels/api/check.h"
#include "tests/fuzz/fuzz_target.h"

int fuzz_template(std::string_view bytes) {
  using namespace foregate;
  static const auto kVariables = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "Be \u00e9 brief."}, {"role": "user", "content": "Hi <|im_end|>"},
      {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": [1, 2.5]}}}]},
      {"role": "tool", "content": "18 C", "tool_call_id": "x"}],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
    "documents": null, "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "enable_thinking": false})");
  auto made = compile_chat_template(bytes);
  if (!made.ok()) return 0;
  TemplateBudget budget;
  budget.operations = 20'000;
  budget.output_bytes = 1u << 16;
  const auto chat = (*made)->render(kVariables, budget, 1'700'000'000);
  if (!chat.ok()) return 1;
  CHECK(chat->text.size() <= budget.output_bytes);
  std::size_t end = 0;
  for (const TextSpan& span : chat->input_spans) {
    CHECK(end <= span.begin && span.begin <= span.end && span.end <= chat->text.size());
    end = span.end;
  }
  return 2;
}
