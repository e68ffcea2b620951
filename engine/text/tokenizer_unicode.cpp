#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

// What may follow a lead byte: length of the character and range of the second byte.
struct LeadRule {
  std::size_t length;
  unsigned char low, high;
};

LeadRule lead_rule(unsigned char lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (lead >= 0xE1 && lead <= 0xEF) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};  // at most U+10FFFF
  return {0, 0, 0};
}

}  // namespace

char32_t utf8_next(std::string_view text, std::size_t* position) {
  const auto at = [&](std::size_t offset) { return static_cast<unsigned char>(text[*position + offset]); };
  const std::size_t length = utf8_length(text[*position]);
  char32_t code_point = length == 1 ? at(0) : at(0) & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) code_point = (code_point << 6) | (at(i) & 0x3Fu);
  *position += length;
  return code_point;
}

void utf8_append(char32_t code_point, std::string* out) {
  const auto put = [out](char32_t value) { out->push_back(static_cast<char>(value)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::size_t utf8_first_error(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const LeadRule rule = lead_rule(static_cast<unsigned char>(text[i]));
    if (rule.length == 0 || text.size() - i < rule.length) return i;
    for (std::size_t k = 1; k < rule.length; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      const unsigned char low = k == 1 ? rule.low : 0x80;
      const unsigned char high = k == 1 ? rule.high : 0xBF;
      if (byte < low || byte > high) return i;
    }
    i += rule.length;
  }
  return std::string_view::npos;
}

void Utf8Repair::byte(unsigned char value, std::string* out) {
  if (held_count_ > 0) {
    if (value >= low_ && value <= high_) {
      held_[held_count_++] = static_cast<char>(value);
      low_ = 0x80;
      high_ = 0xBF;
      if (held_count_ == need_) {
        out->append(held_.data(), held_count_);
        held_count_ = 0;
      }
      return;
    }
    out->append(kReplacementUtf8);
    held_count_ = 0;
  }
  const LeadRule rule = lead_rule(value);
  if (rule.length == 1) {
    out->push_back(static_cast<char>(value));
  } else if (rule.length == 0) {
    out->append(kReplacementUtf8);
  } else {
    held_[0] = static_cast<char>(value);
    held_count_ = 1;
    need_ = rule.length;
    low_ = rule.low;
    high_ = rule.high;
  }
}

void Utf8Repair::push(std::string_view bytes, std::string* out) {
  for (const char value : bytes) byte(static_cast<unsigned char>(value), out);
}

void Utf8Repair::finish(std::string* out) {
  if (held_count_ > 0) out->append(kReplacementUtf8);
  held_count_ = 0;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

const std::array<char32_t, 256>& byte_alphabet() {
  static const std::array<char32_t, 256> table = [] {
    std::array<char32_t, 256> made{};
    char32_t next = 256;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      made[byte] = printable ? byte : next++;
    }
    return made;
  }();
  return table;
}

void byte_level_append(std::string_view bytes, std::string* out) {
  const auto& alphabet = byte_alphabet();
  for (const char byte : bytes) utf8_append(alphabet[static_cast<unsigned char>(byte)], out);
}

std::optional<std::string> byte_level_decode(std::string_view token) {
  static const std::array<std::int16_t, 512> reverse = [] {
    std::array<std::int16_t, 512> made;
    made.fill(-1);
    for (std::size_t byte = 0; byte < 256; ++byte) made[byte_alphabet()[byte]] = static_cast<std::int16_t>(byte);
    return made;
  }();
  std::string bytes;
  bytes.reserve(token.size());
  for (std::size_t i = 0; i < token.size();) {
    const char32_t code_point = utf8_next(token, &i);
    if (code_point >= reverse.size() || reverse[code_point] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(reverse[code_point]));
  }
  return bytes;
}

}  // namespace foregate::tok
