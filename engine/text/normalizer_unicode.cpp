// Unicode normalization forms (Unicode Standard Annex 15) over utf8proc's tables. The canonical
// ordering is a stable sort, so a long run of combining marks costs n log n.
#include <utf8proc.h>

#include <algorithm>

#include "engine/text/normalizer.h"
#include "engine/text/tokenizer_unicode.h"

namespace foregate::tok {
namespace {

struct Unit {
  char32_t code_point;
  std::size_t at;  // byte offset in the source
  int combining;   // canonical combining class
};

int combining_class(char32_t c) {
  return c < 0x300 ? 0 : utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

void decompose(char32_t c, std::size_t at, bool compatible, std::vector<Unit>* units) {
  if (c < 0x80) {
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
  return utf8proc_normalize_utf32(pair, 2, options) == 1 ? static_cast<char32_t>(pair[0]) : 0;
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
