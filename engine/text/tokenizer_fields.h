// Checked access to the fields of a JSON object of tokenizer.json. Errors name the field.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "engine/base/status.h"

namespace foregate::tok {

// The member, or null when it is absent or JSON null.
const nlohmann::json* member(const nlohmann::json& object, const char* key);

Result<std::string> text_field(const nlohmann::json& object, const char* key, const std::string& where);
// A string of exactly one character.
Result<std::string> character_field(const nlohmann::json& object, const char* key, const std::string& where);
Result<bool> flag_field(const nlohmann::json& object, const char* key, const std::string& where,
                        std::optional<bool> otherwise);
Result<std::int64_t> count_field(const nlohmann::json& object, const char* key, const std::string& where);
Result<const nlohmann::json*> array_field(const nlohmann::json& object, const char* key, const std::string& where);

}  // namespace foregate::tok
