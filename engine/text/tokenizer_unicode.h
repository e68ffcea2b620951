// UTF-8 and the byte-level alphabet for the tokenizer. Pure functions, any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace foregate::tok {

inline constexpr char32_t kReplacementCharacter = 0xFFFD;
inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";

// Length in bytes of the character whose first byte is `lead`; the text must be valid UTF-8.
inline std::size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// Code point at text[*position] of valid UTF-8; moves *position behind it.
char32_t utf8_next(std::string_view text, std::size_t* position);
void utf8_append(char32_t code_point, std::string* out);

// Offset of the first byte that is not part of a well-formed character (Unicode table 3-7), or npos.
std::size_t utf8_first_error(std::string_view text);

// Incremental decoder for broken text: gives whole characters as they complete and U+FFFD for each
// maximal part of a broken one (Unicode chapter 3, "U+FFFD substitution of maximal subparts").
class Utf8Repair {
 public:
  void push(std::string_view bytes, std::string* out);
  void finish(std::string* out);

 private:
  void byte(unsigned char value, std::string* out);
  std::array<char, 4> held_{};
  std::size_t held_count_ = 0;
  std::size_t need_ = 0;                    // length of the character being collected
  unsigned char low_ = 0x80, high_ = 0xBF;  // allowed range of its next byte
};

bool is_space(char32_t code_point);  // Unicode White_Space

// The GPT-2 alphabet: a printable character for each of the 256 bytes.
const std::array<char32_t, 256>& byte_alphabet();
void byte_level_append(std::string_view bytes, std::string* out);
// The bytes that a byte-level token stands for; nullopt when it has a character outside the alphabet.
std::optional<std::string> byte_level_decode(std::string_view token);

}  // namespace foregate::tok
