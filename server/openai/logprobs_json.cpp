#include "server/openai/logprobs_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// Whole UTF-8 characters only; strict enough to decide how to show a token.
bool is_utf8(const std::string& bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xC2 && lead < 0xE0 ? 2
                               : lead >= 0xE0 && lead < 0xF0 ? 3
                               : lead >= 0xF0 && lead < 0xF5 ? 4
                                                             : 0;
    if (length == 0 || i + length > bytes.size()) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if (!is_continuation(bytes[i + k])) return false;
    }
    i += length;
  }
  return true;
}

std::int64_t characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); });
}

// Part of a character is shown as "bytes:\xe2\x82".
std::string token_text(const std::string& bytes) {
  if (is_utf8(bytes)) return bytes;
  static const char* kHex = "0123456789abcdef";
  std::string text = "bytes:";
  for (unsigned char c : bytes) {
    text += "\\x";
    text += kHex[c >> 4];
    text += kHex[c & 15];
  }
  return text;
}

// JSON has no infinities; a token that cannot be drawn gets a very small number, as in vLLM.
double finite(float logprob) {
  return std::isfinite(logprob) ? static_cast<double>(logprob) : -9999.0;
}

std::string name_of(Token token, const std::string& bytes, const TokenNames& names) {
  return names.as_ids ? "token_id:" + std::to_string(token) : token_text(bytes);
}

std::size_t shown(const PositionLogprobs& position, std::int32_t most) {
  return std::min(position.top.size(), static_cast<std::size_t>(most));
}

Json chat_entry(const TokenLogprob& entry, const TokenNames& names) {
  const std::string bytes = names.tokenizer.token_bytes(entry.token);
  Json json = Json::object();
  json["token"] = name_of(entry.token, bytes, names);
  json["logprob"] = finite(entry.logprob);
  json["bytes"] = Json::array();
  for (unsigned char c : bytes) json["bytes"].push_back(static_cast<int>(c));
  return json;
}

}  // namespace

Json chat_logprobs(const std::vector<PositionLogprobs>& positions, const TokenNames& names) {
  Json content = Json::array();
  for (const PositionLogprobs& position : positions) {
    Json entry = chat_entry(position.chosen, names);
    entry["top_logprobs"] = Json::array();
    for (const TokenLogprob& other : position.top) entry["top_logprobs"].push_back(chat_entry(other, names));
    content.push_back(std::move(entry));
  }
  Json json = Json::object();
  json["content"] = std::move(content);
  return json;
}

Json completion_logprobs(const std::vector<Token>& tokens, const std::vector<PositionLogprobs>& positions,
                         bool first_unknown, std::int32_t most, const TokenNames& names, std::int64_t* text_offset) {
  Json offsets = Json::array(), texts = Json::array(), chosen = Json::array(), tops = Json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::string bytes = names.tokenizer.token_bytes(tokens[i]);
    offsets.push_back(*text_offset);
    *text_offset += characters(bytes);
    texts.push_back(name_of(tokens[i], bytes, names));
    if (i >= positions.size() || (i == 0 && first_unknown)) {
      chosen.push_back(nullptr);
      tops.push_back(nullptr);
      continue;
    }
    chosen.push_back(finite(positions[i].chosen.logprob));
    Json top = Json::object();
    for (std::size_t k = 0; k < shown(positions[i], most); ++k) {
      const TokenLogprob& other = positions[i].top[k];
      top[name_of(other.token, names.tokenizer.token_bytes(other.token), names)] = finite(other.logprob);
    }
    top[name_of(tokens[i], bytes, names)] = finite(positions[i].chosen.logprob);
    tops.push_back(std::move(top));
  }
  Json json = Json::object();
  json["text_offset"] = std::move(offsets);
  json["token_logprobs"] = std::move(chosen);
  json["tokens"] = std::move(texts);
  json["top_logprobs"] = std::move(tops);
  return json;
}

Json prompt_logprobs_json(const std::vector<PositionLogprobs>& positions, std::int32_t most,
                          const Tokenizer& tokenizer) {
  Json json = Json::array();
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (i == 0) {
      json.push_back(nullptr);
      continue;
    }
    Json entries = Json::object();
    const auto put = [&](const TokenLogprob& entry, std::int32_t rank) {
      entries[std::to_string(entry.token)] = {{"logprob", finite(entry.logprob)},
                                              {"rank", rank},
                                              {"decoded_token", token_text(tokenizer.token_bytes(entry.token))}};
    };
    put(positions[i].chosen, positions[i].rank);
    for (std::size_t k = 0; k < shown(positions[i], most); ++k) {
      put(positions[i].top[k], static_cast<std::int32_t>(k) + 1);
    }
    json.push_back(std::move(entries));
  }
  return json;
}

}  // namespace foregate
