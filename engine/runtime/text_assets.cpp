#include "engine/runtime/text_assets.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

constexpr std::uint64_t kMaxFileBytes = 16u << 20;

// A token is written as a string or as an object with "content"; null and absent mean none.
Status read_token(const nlohmann::json& config, const char* key, const std::string& path, std::string* out) {
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return {};
  const nlohmann::json* text = &*it;
  if (it->is_object() && it->contains("content")) text = &it->at("content");
  if (!text->is_string()) return invalid_argument(path + ": " + key + " is not a string", key);
  *out = text->get<std::string>();
  return {};
}

Result<std::string> template_source(const nlohmann::json& config, const std::string& path) {
  const auto it = config.find("chat_template");
  if (it == config.end() || it->is_null()) return std::string();
  if (it->is_string()) return it->get<std::string>();
  if (it->is_array()) {
    for (const nlohmann::json& entry : *it) {
      if (!entry.is_object() || entry.value("name", nlohmann::json()) != "default") continue;
      const nlohmann::json source = entry.value("template", nlohmann::json());
      if (source.is_string()) return source.get<std::string>();
    }
  }
  return invalid_argument(path + ": chat_template is neither a string nor a list with a 'default' entry",
                          "chat_template");
}

}  // namespace

Result<TextAssets> load_text_assets(const FileSystem& files, const std::string& model_dir) {
  TextAssets assets;
  std::string source;
  std::string origin = model_dir + "/tokenizer_config.json";
  if (files.exists(origin)) {
    ASSIGN_OR_RETURN(const std::string text, read_text(files, origin, kMaxFileBytes));
    nlohmann::json config;
    RETURN_IF_ERROR(parse_checked_json(text, 32, origin, config));
    if (!config.is_object()) return invalid_argument(origin + " is not a JSON object");
    RETURN_IF_ERROR(read_token(config, "bos_token", origin, &assets.bos_token));
    RETURN_IF_ERROR(read_token(config, "eos_token", origin, &assets.eos_token));
    ASSIGN_OR_RETURN(source, template_source(config, origin));
  }
  const std::string file = model_dir + "/chat_template.jinja";
  if (files.exists(file)) {
    ASSIGN_OR_RETURN(source, read_text(files, file, kMaxFileBytes));
    origin = file;
  }
  if (source.empty()) return assets;
  auto compiled = compile_chat_template(source);
  if (!compiled.ok()) {
    return Status(compiled.status().code(), origin + ": " + compiled.status().message(), "chat_template");
  }
  assets.chat_template = std::move(compiled).value();
  return assets;
}

}  // namespace foregate
