// What Oniguruma's character classes mean, spelled for PCRE2. The two libraries carry different
// Unicode versions and define \s, \w and \h differently, so classes are spelled out.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace foregate::tok {

// Inside of a bracket class for \s, \w, \d or \h (letter in lower case). 'W': \w outside of brackets.
std::string class_shorthand(char letter);

// The characters of a property: inside of a bracket class, or all characters but those.
struct ClassItems {
  std::string items;
  bool complement = false;
};

// For \p{name}: general categories, common scripts, and Space, Digit, Word, Any. nullopt for a
// property that is not supported.
std::optional<ClassItems> class_property(std::string_view name);

}  // namespace foregate::tok
