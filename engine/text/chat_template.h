// Chat templates: the subset of Jinja2 that published templates use, run within budgets and without
// any reach outside the values given to it. Immutable after compile; safe to share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"
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
  // Its text, of the one for tools where there are two.
  virtual std::string_view source() const { return {}; }
};

// kInvalidArgument with line number for syntax errors, kUnimplemented for tags or filters not known.
// kResourceExhausted for nesting beyond the parser's bounds. Filters and tests that only stand inside an
// {% if %} are refused when they are reached, as jinja2 does.
Result<std::unique_ptr<ChatTemplate>> compile_chat_template(std::string_view source);

// What tokenizer_config.json says about special tokens and templates. Tokens that are absent or null
// are empty; callers pass the others to the template as variables of the same names.
struct TokenizerConfig {
  std::string bos_token, eos_token, unk_token, pad_token;
  std::optional<bool> add_bos_token, add_eos_token;
  std::map<std::string, std::string> chat_templates;  // a single template is named "default"
};

// kInvalidArgument naming the field in Status::field.
Result<TokenizerConfig> parse_tokenizer_config(std::string_view json_text);
// An absent file gives an empty config.
Result<TokenizerConfig> load_tokenizer_config(const FileSystem& files, const std::string& directory);

// The template named "default" of `config`; `where` names its place in errors. Where there is a "tool_use" template as
// well, requests whose `tools` is not null use it. kNotFound when there is none.
Result<std::unique_ptr<ChatTemplate>> make_chat_template(const TokenizerConfig& config, const std::string& where);

// The model's template: chat_template.jinja, else tokenizer_config.json; then as make_chat_template().
Result<std::unique_ptr<ChatTemplate>> load_chat_template(const FileSystem& files, const std::string& directory);

}  // namespace foregate
