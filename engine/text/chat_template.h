// Chat templates: the subset of Jinja2 that published templates use, run within budgets and without
// any reach outside the values given to it. Immutable after compile; safe to share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer.h"

namespace foregate {

struct TemplateBudget {
  std::uint64_t operations = 2'000'000;
  std::size_t output_bytes = 16u << 20;
  int depth = 64;  // nested calls and blocks
};

struct RenderedChat {
  std::string text;
  std::vector<TextSpan> input_spans;  // parts that came from strings of the request, ascending
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // `variables` is an object: messages, tools, add_generation_prompt, bos_token, and so on. Strings
  // under "messages", "tools" and "documents" count as the client's. raise_exception gives
  // kInvalidArgument with the template's own message; a spent budget gives kResourceExhausted.
  virtual Result<RenderedChat> render(const nlohmann::ordered_json& variables, const TemplateBudget& budget = {},
                                      std::int64_t now_unix_seconds = 0) const = 0;
};

// kInvalidArgument with line number for syntax errors, kUnimplemented for tags or filters not known.
Result<std::unique_ptr<ChatTemplate>> compile_chat_template(std::string_view source);

}  // namespace foregate
