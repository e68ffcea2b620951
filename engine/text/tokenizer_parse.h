// The parts of a tokenizer.json, checked and built. Whatever is not supported is refused by name.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/bpe.h"
#include "engine/text/bpe_tokenizer.h"
#include "engine/text/normalizer.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/tokenizer_added.h"
#include "engine/text/tokenizer_decoder.h"
#include "engine/text/tokenizer_json.h"

namespace foregate::tok {

// `where` names the value in errors. A JSON null gives a null pointer, or a chain that joins with spaces.
Result<std::unique_ptr<Normalizer>> parse_normalizer(const nlohmann::json& value, const std::string& where);
Result<std::unique_ptr<PreTokenizer>> parse_pre_tokenizer(const nlohmann::json& value, const std::string& where);
Result<std::vector<DecodeStep>> parse_decoder(const nlohmann::json& value, const std::string& where);
Status parse_post_processor(const nlohmann::json& value, const std::string& where, std::vector<Template>* templates);
Result<std::unique_ptr<Bpe>> parse_model(TokenizerJson file);
// Ids as the reference library gives them: of the vocabulary, or counting on behind it; an id in the
// file that differs is refused.
Result<std::vector<AddedToken>> parse_added_tokens(const nlohmann::json& value, const Bpe& model,
                                                   const Normalizer* normalizer);

}  // namespace foregate::tok
