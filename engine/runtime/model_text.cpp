#include "engine/runtime/model_text.h"

#include <algorithm>
#include <string_view>

#include "engine/model/metadata_reader.h"

namespace foregate {
namespace {

constexpr const char* kPrefix = "tokenizer.ggml.";
constexpr std::string_view kNamedTemplate = "tokenizer.chat_template.";

Result<ModelText> load_directory_text(const FileSystem& files, const std::string& dir) {
  ModelText text;
  ASSIGN_OR_RETURN(text.tokenizer, load_tokenizer(files, dir + "/tokenizer.json"));
  ASSIGN_OR_RETURN(text.config, load_tokenizer_config(files, dir));
  auto found = load_chat_template(files, dir);
  if (!found.ok() && found.status().code() != Code::kNotFound) return found.status();
  if (found.ok()) text.chat_template = std::move(found).value();
  return text;
}

GgufValue* find_array(GgufHeader& header, const char* key, GgufType type) {
  const auto at = std::find_if(header.metadata.begin(), header.metadata.end(),
                               [&](const GgufEntry& entry) { return entry.key == std::string(kPrefix) + key; });
  if (at == header.metadata.end()) return nullptr;
  return at->value.is_array && at->value.type == type ? &at->value : nullptr;
}

Status check_array(const GgufHeader& header, const std::string& path, const char* key, GgufType type) {
  const std::string name = std::string(kPrefix) + key;
  const GgufValue* value = header.find(name);
  if (value == nullptr || (value->is_array && value->type == type)) return {};
  return data_loss(path + ": " + name + " is a " + value->description() + ", not an array of " + gguf_type_name(type),
                   name);
}

Status take_arrays(GgufHeader& header, const std::string& path, GgufVocab& vocab) {
  RETURN_IF_ERROR(check_array(header, path, "tokens", GgufType::kText));
  RETURN_IF_ERROR(check_array(header, path, "merges", GgufType::kText));
  RETURN_IF_ERROR(check_array(header, path, "scores", GgufType::kF32));
  RETURN_IF_ERROR(check_array(header, path, "token_type", GgufType::kI32));
  if (GgufValue* tokens = find_array(header, "tokens", GgufType::kText)) vocab.tokens = std::move(tokens->texts);
  if (GgufValue* merges = find_array(header, "merges", GgufType::kText)) vocab.merges = std::move(merges->texts);
  if (const GgufValue* scores = find_array(header, "scores", GgufType::kF32)) {
    for (std::uint64_t i = 0; i < scores->count; ++i) vocab.scores.push_back(static_cast<float>(*scores->number(i)));
  }
  if (const GgufValue* types = find_array(header, "token_type", GgufType::kI32)) {
    for (std::uint64_t i = 0; i < types->count; ++i) {
      const std::int64_t type = *types->integer(i);
      const bool known = type >= 0 && type <= static_cast<std::int64_t>(GgufTokenType::kByte);
      vocab.types.push_back(known ? static_cast<GgufTokenType>(type) : GgufTokenType::kUndefined);
    }
  }
  return {};
}

// Ids past the vocabulary stand for none: several converters wrote such.
Token special_id(MetadataReader& keys, const char* key, const GgufVocab& vocab, Token otherwise = -1) {
  const std::int64_t id = keys.integer_or(key, -1, UINT32_MAX, otherwise);
  return id >= 0 && id < static_cast<std::int64_t>(vocab.tokens.size()) ? static_cast<Token>(id) : -1;
}

std::optional<bool> optional_flag(MetadataReader& keys, const char* key) {
  if (!keys.has(key)) return std::nullopt;
  return keys.boolean_or(key, false);
}

TokenizerConfig config_of(const GgufVocab& vocab) {
  const auto text = [&](Token id) { return id < 0 ? std::string() : vocab.tokens[static_cast<std::size_t>(id)]; };
  TokenizerConfig config;
  config.bos_token = text(vocab.bos);
  config.eos_token = text(vocab.eos);
  config.unk_token = text(vocab.unknown);
  config.pad_token = text(vocab.padding);
  config.add_bos_token = vocab.add_bos;
  config.add_eos_token = vocab.add_eos;
  return config;
}

// tokenizer.chat_template is the default one, tokenizer.chat_template.NAME another.
Status take_templates(const GgufHeader& header, const std::string& path, TokenizerConfig& config) {
  MetadataReader keys(header, path);
  const std::string plain = keys.text_or("tokenizer.chat_template", "");
  if (!plain.empty()) config.chat_templates.emplace("default", plain);
  for (const GgufEntry& entry : header.metadata) {
    if (!entry.key.starts_with(kNamedTemplate)) continue;
    config.chat_templates.emplace(entry.key.substr(kNamedTemplate.size()), keys.text_or(entry.key.c_str(), ""));
  }
  return keys.status();
}

Status with_path(const std::string& path, const Status& status) {
  return Status(status.code(), path + ": " + status.message(), status.field());
}

Result<ModelText> load_gguf_text(GgufHeader& header, const std::string& path) {
  ModelText text;
  ASSIGN_OR_RETURN(GgufVocab vocab, take_gguf_vocab(header, path));
  text.config = config_of(vocab);
  RETURN_IF_ERROR(take_templates(header, path, text.config));
  auto tokenizer = make_gguf_tokenizer(std::move(vocab));
  if (!tokenizer.ok()) return with_path(path, tokenizer.status());
  text.tokenizer = std::move(tokenizer).value();
  if (text.config.chat_templates.count("default") == 0) return text;
  ASSIGN_OR_RETURN(text.chat_template, make_chat_template(text.config, path + ": tokenizer.chat_template"));
  return text;
}

}  // namespace

Result<GgufVocab> take_gguf_vocab(GgufHeader& header, const std::string& path) {
  GgufVocab vocab;
  MetadataReader keys(header, path, kPrefix);
  RETURN_IF_ERROR(take_arrays(header, path, vocab));
  vocab.model = keys.text_or("model", "");
  vocab.pre = keys.text_or("pre", "");
  // SentencePiece's own ids, where a file is silent.
  const bool pieces = vocab.model == "llama";
  vocab.bos = special_id(keys, "bos_token_id", vocab, pieces ? 1 : -1);
  vocab.eos = special_id(keys, "eos_token_id", vocab, pieces ? 2 : -1);
  vocab.unknown = special_id(keys, "unknown_token_id", vocab, pieces ? 0 : -1);
  vocab.padding = special_id(keys, "padding_token_id", vocab);
  vocab.add_bos = optional_flag(keys, "add_bos_token");
  vocab.add_eos = optional_flag(keys, "add_eos_token");
  vocab.add_space_prefix = optional_flag(keys, "add_space_prefix");
  RETURN_IF_ERROR(keys.status());
  return vocab;
}

Result<ModelText> load_model_text(const FileSystem& files, OpenModel& model) {
  if (model.source.kind == ModelKind::kHuggingFace) return load_directory_text(files, model.source.path);
  return load_gguf_text(model.gguf, gguf_metadata_path(model.source));
}

}  // namespace foregate
