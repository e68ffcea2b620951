#include "engine/text/tokenizer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/text/bpe_tokenizer.h"
#include "engine/text/tokenizer_parse.h"

namespace foregate {
namespace {

constexpr std::uint64_t kMaxFileBytes = 256u << 20;

const nlohmann::json& section(const nlohmann::json& file, const char* key) {
  static const nlohmann::json kNull;
  const auto found = file.find(key);
  return found == file.end() ? kNull : *found;
}

Result<std::unique_ptr<Tokenizer>> build(tok::TokenizerJson file) {
  const auto tree = file.rest;
  tok::TokenizerParts parts;
  ASSIGN_OR_RETURN(parts.model, tok::parse_model(std::move(file)));
  ASSIGN_OR_RETURN(parts.normalizer, tok::parse_normalizer(section(*tree, "normalizer"), "normalizer"));
  ASSIGN_OR_RETURN(parts.pre_tokenizer, tok::parse_pre_tokenizer(section(*tree, "pre_tokenizer"), "pre_tokenizer"));
  ASSIGN_OR_RETURN(auto steps, tok::parse_decoder(section(*tree, "decoder"), "decoder"));
  ASSIGN_OR_RETURN(parts.decoder, tok::DecodeChain::build(std::move(steps)));
  RETURN_IF_ERROR(tok::parse_post_processor(section(*tree, "post_processor"), "post_processor", &parts.templates));
  ASSIGN_OR_RETURN(auto listed,
                   tok::parse_added_tokens(section(*tree, "added_tokens"), *parts.model, parts.normalizer.get()));
  return tok::make_bpe_tokenizer(std::move(parts), std::move(listed));
}

}  // namespace

std::unique_ptr<DecodeStream> Tokenizer::decode_stream(bool) const {
  return nullptr;
}

Result<std::unique_ptr<Tokenizer>> load_tokenizer(const FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(auto text, read_text(files, path, kMaxFileBytes));
  auto file = tok::read_tokenizer_json(text);
  text = {};
  auto made = file.ok() ? build(std::move(file).value()) : Result<std::unique_ptr<Tokenizer>>(file.status());
  if (made.ok()) return made;
  return Status(made.status().code(), path + ": " + made.status().message(), made.status().field());
}

}  // namespace foregate
