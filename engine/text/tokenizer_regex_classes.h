// What Oniguruma's character classes mean, spelled for PCRE2. The two libraries carry different
// Unicode versions and define \s, \w and \h differently, so classes are spelled out.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace foregate::tok {

// Inside of a bracket class for \s, \w, \d or \h (letter in lower case).
std::string class_shorthand(char letter);

// Inside of a bracket class for \p{name}; nullopt for a property that is not supported.
std::optional<std::string> class_property(std::string_view name);

}  // namespace foregate::tok
