// Finding a model's chat template: chat_template.jinja, else tokenizer_config.json.
#include <nlohmann/json.hpp>

#include "engine/text/chat_template.h"

namespace foregate {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kMaxTemplateBytes = 1u << 20;
constexpr std::uint64_t kMaxConfigBytes = 64u << 20;  // added_tokens_decoder makes some of them large
constexpr std::size_t kMaxNamedTemplates = 64;
constexpr int kMaxConfigDepth = 64;

std::string join_path(const std::string& directory, const char* name) {
  return directory.empty() || directory.back() == '/' ? directory + name : directory + "/" + name;
}

Status field_error(const std::string& field, const std::string& what) {
  return invalid_argument("tokenizer_config.json: '" + field + "' " + what, field);
}

// Depth is counted before parsing, so that no nesting can overflow the stack while the tree is freed.
bool nests_deeper(std::string_view text, int limit) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

Status read_token(const ordered_json& json, const char* field, std::string* token) {
  const auto it = json.find(field);
  if (it == json.end() || it->is_null()) return {};
  const ordered_json* value = &*it;
  if (value->is_object()) {
    const auto content = value->find("content");
    if (content == value->end()) return field_error(field, "is an object without 'content'");
    value = &*content;
  }
  if (!value->is_string()) return field_error(field, "must be a string or an added-token object");
  *token = value->get<std::string>();
  return {};
}

Status read_flag(const ordered_json& json, const char* field, std::optional<bool>* flag) {
  const auto it = json.find(field);
  if (it == json.end() || it->is_null()) return {};
  if (!it->is_boolean()) return field_error(field, "must be true or false");
  *flag = it->get<bool>();
  return {};
}

Status read_named_templates(const ordered_json& list, TokenizerConfig* config) {
  if (list.size() > kMaxNamedTemplates) return field_error("chat_template", "has too many entries");
  for (const ordered_json& entry : list) {
    const bool good = entry.is_object() && entry.contains("name") && entry["name"].is_string() &&
                      entry.contains("template") && entry["template"].is_string();
    if (!good) return field_error("chat_template", "entries must be objects with strings 'name' and 'template'");
    const std::string name = entry["name"].get<std::string>();
    if (!config->chat_templates.emplace(name, entry["template"].get<std::string>()).second) {
      return field_error("chat_template", "names an entry twice");
    }
  }
  return {};
}

Status read_chat_template(const ordered_json& json, TokenizerConfig* config) {
  const auto it = json.find("chat_template");
  if (it == json.end() || it->is_null()) return {};
  if (it->is_string()) {
    config->chat_templates.emplace("default", it->get<std::string>());
    return {};
  }
  if (it->is_array()) return read_named_templates(*it, config);
  return field_error("chat_template", "must be a string or a list of named templates");
}

// Picks the "tool_use" template when the request brings tools, as transformers does.
class ToolUseTemplate : public ChatTemplate {
 public:
  ToolUseTemplate(std::unique_ptr<ChatTemplate> plain, std::unique_ptr<ChatTemplate> with_tools)
      : plain_(std::move(plain)), with_tools_(std::move(with_tools)) {}

  Result<RenderedChat> render(const ordered_json& variables, const TemplateBudget& budget,
                              std::int64_t now_unix_seconds) const override {
    const auto tools = variables.find("tools");
    const bool given = tools != variables.end() && !tools->is_null();
    return (given ? with_tools_ : plain_)->render(variables, budget, now_unix_seconds);
  }

  std::string_view source() const override { return with_tools_->source(); }

 private:
  std::unique_ptr<ChatTemplate> plain_, with_tools_;
};

Result<std::unique_ptr<ChatTemplate>> compile_named(const std::string& source, const std::string& where) {
  auto compiled = compile_chat_template(source);
  if (compiled.ok()) return compiled;
  return Status(compiled.status().code(), where + ": " + compiled.status().message(), "chat_template");
}

}  // namespace

Result<TokenizerConfig> parse_tokenizer_config(std::string_view text) {
  if (nests_deeper(text, kMaxConfigDepth)) return invalid_argument("tokenizer_config.json is nested too deeply");
  const ordered_json json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return invalid_argument("tokenizer_config.json is not valid JSON");
  if (!json.is_object()) return invalid_argument("tokenizer_config.json must hold an object");
  TokenizerConfig config;
  RETURN_IF_ERROR(read_token(json, "bos_token", &config.bos_token));
  RETURN_IF_ERROR(read_token(json, "eos_token", &config.eos_token));
  RETURN_IF_ERROR(read_token(json, "unk_token", &config.unk_token));
  RETURN_IF_ERROR(read_token(json, "pad_token", &config.pad_token));
  RETURN_IF_ERROR(read_flag(json, "add_bos_token", &config.add_bos_token));
  RETURN_IF_ERROR(read_flag(json, "add_eos_token", &config.add_eos_token));
  RETURN_IF_ERROR(read_chat_template(json, &config));
  return config;
}

Result<TokenizerConfig> load_tokenizer_config(const FileSystem& files, const std::string& directory) {
  const std::string path = join_path(directory, "tokenizer_config.json");
  if (!files.exists(path)) return TokenizerConfig{};
  ASSIGN_OR_RETURN(const std::string text, read_text(files, path, kMaxConfigBytes));
  return parse_tokenizer_config(text);
}

Result<std::unique_ptr<ChatTemplate>> make_chat_template(const TokenizerConfig& config, const std::string& where) {
  const auto plain = config.chat_templates.find("default");
  if (plain == config.chat_templates.end()) return not_found(where + ": there is no template named 'default'");
  ASSIGN_OR_RETURN(auto compiled, compile_named(plain->second, where));
  const auto tools = config.chat_templates.find("tool_use");
  if (tools == config.chat_templates.end()) return compiled;
  ASSIGN_OR_RETURN(auto with_tools, compile_named(tools->second, "chat template 'tool_use'"));
  return std::unique_ptr<ChatTemplate>(std::make_unique<ToolUseTemplate>(std::move(compiled), std::move(with_tools)));
}

Result<std::unique_ptr<ChatTemplate>> load_chat_template(const FileSystem& files, const std::string& directory) {
  const std::string path = join_path(directory, "chat_template.jinja");
  ASSIGN_OR_RETURN(TokenizerConfig config, load_tokenizer_config(files, directory));
  const bool own_file = files.exists(path);
  if (own_file) {
    ASSIGN_OR_RETURN(config.chat_templates["default"], read_text(files, path, kMaxTemplateBytes));
    const std::string extra = join_path(directory, "additional_chat_templates/tool_use.jinja");
    config.chat_templates.erase("tool_use");
    if (files.exists(extra)) {
      ASSIGN_OR_RETURN(config.chat_templates["tool_use"], read_text(files, extra, kMaxTemplateBytes));
    }
  }
  if (config.chat_templates.empty()) return not_found("'" + directory + "' has no chat template");
  if (config.chat_templates.count("default") == 0) return field_error("chat_template", "has no entry named 'default'");
  return make_chat_template(config, own_file ? path : "tokenizer_config.json: chat_template");
}

}  // namespace foregate
