// Text operations that methods and filters share.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/jinja_eval.h"

namespace foregate::jinja {

// A mapping that mixes bytes: the result counts as input when any part of `text` does.
Value map_text(Heap& heap, const Str& text, std::string (*map)(std::string_view));
// Without white space, or without the characters of `chars`, at the ends asked for.
Value strip(Heap& heap, const Str& text, const Str* chars, bool left, bool right);
Value replace(Heap& heap, const Str& text, const Str& old_part, const Str& new_part, std::int64_t count);
// Byte ranges of the lines of str.splitlines(); `keep_ends` includes the line end.
std::vector<TextSpan> line_spans(std::string_view text, bool keep_ends);
// Padded to `width` code points; side < 0: text left, 0: centred as str.center, > 0: text right.
Value pad(Heap& heap, const Str& text, std::int64_t width, std::string_view filler, int side);
// item.a.b or item[0] for "a.b" or "0": the attribute argument of filters. A part that is undefined
// becomes `otherwise`, when there is one.
Value attribute_path(Evaluator& ev, const Value& item, const Value& path, const Value* otherwise = nullptr);
// Key of a comparison that ignores case unless asked otherwise.
Value fold_case(Heap& heap, const Value& v, bool case_sensitive);

}  // namespace foregate::jinja
