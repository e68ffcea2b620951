// Unicode normalization forms (Unicode Standard Annex 15) over utf8proc's tables. The canonical
// ordering is a stable sort, so a long run of combining marks costs n log n.
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "engine/text/normalizer.h"
#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

struct Unit {
  char32_t code_point;
  std::size_t at;  // byte offset in the source
  int combining;   // canonical combining class
};

// The normalizers of the tokenizers library have the tables of Unicode 9. Characters that came later
// and have a decomposition or a combining class in utf8proc's tables pass through it unchanged.
constexpr std::array<std::pair<char32_t, char32_t>, 45> kLaterCharacters{
    {{0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},     {0xC3C, 0xC3C},
     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0xECE, 0xECE},     {0x1715, 0x1715},   {0x1ABF, 0x1ACE},
     {0x1DF6, 0x1DFA},   {0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xA82C, 0xA82C},   {0xAB69, 0xAB69},
     {0x10781, 0x107BA}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFC, 0x10EFF}, {0x10F46, 0x10F50},
     {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
     {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34},
     {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
     {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E030, 0x1E06D}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
     {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}}};

bool is_later(char32_t c) {
  const auto after = std::upper_bound(kLaterCharacters.begin(), kLaterCharacters.end(), c,
                                      [](char32_t value, const auto& range) { return value < range.first; });
  return after != kLaterCharacters.begin() && c <= std::prev(after)->second;
}

int combining_class(char32_t c) {
  return c < 0x300 || is_later(c) ? 0 : utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

void decompose(char32_t c, std::size_t at, bool compatible, std::vector<Unit>* units) {
  if (c < 0x80 || is_later(c)) {
    units->push_back({c, at, 0});
    return;
  }
  utf8proc_int32_t parts[32];
  int boundary = 0;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 32, options, &boundary);
  if (count < 1 || count > 32) {
    units->push_back({c, at, combining_class(c)});
    return;
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    const auto part = static_cast<char32_t>(parts[i]);
    units->push_back({part, at, combining_class(part)});
  }
}

void order_marks(std::vector<Unit>* units) {
  for (auto run = units->begin(); run != units->end();) {
    if (run->combining == 0) {
      ++run;
      continue;
    }
    const auto end = std::find_if(run, units->end(), [](const Unit& unit) { return unit.combining == 0; });
    std::stable_sort(run, end, [](const Unit& a, const Unit& b) { return a.combining < b.combining; });
    run = end;
  }
}

// The primary composite of two characters, or 0.
char32_t composite(char32_t first, char32_t second) {
  if (second < 0x300) return 0;  // no primary composite ends in one of these
  utf8proc_int32_t pair[2] = {static_cast<utf8proc_int32_t>(first), static_cast<utf8proc_int32_t>(second)};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  if (utf8proc_normalize_utf32(pair, 2, options) != 1) return 0;
  const auto made = static_cast<char32_t>(pair[0]);
  return is_later(made) ? 0 : made;
}

void compose(std::vector<Unit>* units) {
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::size_t kept = 0, starter = kNone;
  int last_class = -1;  // of the character kept behind the starter; -1 directly behind it
  for (std::size_t i = 0; i < units->size(); ++i) {
    const Unit unit = (*units)[i];
    const bool blocked = last_class >= unit.combining && last_class != -1;
    if (starter != kNone && !blocked) {
      if (const char32_t made = composite((*units)[starter].code_point, unit.code_point)) {
        (*units)[starter].code_point = made;
        continue;
      }
    }
    if (unit.combining == 0) {
      starter = kept;
      last_class = -1;
    } else {
      last_class = unit.combining;
    }
    (*units)[kept++] = unit;
  }
  units->resize(kept);
}

class UnicodeNormalizer : public Normalizer {
 public:
  explicit UnicodeNormalizer(UnicodeForm form)
      : compatible_(form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd),
        composed_(form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc) {}

  Status apply(NormalizedText* text) const override {
    const std::string& source = text->text;
    // Below U+0300 (lead byte 0xCC) composed canonical text is its own form; ASCII is in every form.
    const unsigned char inert = composed_ && !compatible_ ? 0xCC : 0x80;
    if (std::all_of(source.begin(), source.end(), [&](char c) { return static_cast<unsigned char>(c) < inert; })) {
      return {};
    }
    std::vector<Unit> units;
    units.reserve(source.size());
    for (std::size_t i = 0; i < source.size();) {
      const std::size_t at = i;
      const char32_t c = utf8_next(source, &i);
      decompose(c, at, compatible_, &units);
    }
    order_marks(&units);
    if (composed_) compose(&units);
    NormalizedBuilder builder(*text);
    std::string bytes;
    for (const Unit& unit : units) {
      bytes.clear();
      utf8_append(unit.code_point, &bytes);
      builder.add(bytes, unit.at);
    }
    *text = builder.finish();
    return {};
  }

 private:
  bool compatible_, composed_;
};

}  // namespace

std::unique_ptr<Normalizer> make_unicode_normalizer(UnicodeForm form) {
  return std::make_unique<UnicodeNormalizer>(form);
}

}  // namespace foregate::tok
