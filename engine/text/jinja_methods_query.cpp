// Methods of strings that answer a question: where, how many, of what class.
#include <algorithm>

#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

// The byte range that optional start and end arguments select; `empty` when start is past the end.
struct Window {
  std::size_t begin, end;
  bool valid;
};

Window window(Heap& heap, const Str& text, const Bound& bound) {
  const std::int64_t size = length(text);
  heap.charge(1 + text.bytes.size() / kBytesPerOperation);
  const auto index = [&](std::size_t i, std::int64_t otherwise) {
    std::int64_t v = bound.given(i) ? bound.integer(i, otherwise) : otherwise;
    if (v < 0) v = std::max<std::int64_t>(v < -size ? 0 : v + size, 0);
    return v;
  };
  const std::int64_t start = index(1, 0);
  const std::int64_t stop = std::min(index(2, size), size);
  if (start > stop) return {0, 0, false};
  return {byte_offset(text, start), byte_offset(text, stop), true};
}

template <bool Right, bool MustFind>
Value find_method_of(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound(MustFind ? "index" : "find", args, {"sub", "start", "end"}, 1);
  const Str& text = *self.str;
  const std::string_view wanted = bound.text(0).bytes;
  const Window w = window(ev.heap(), text, bound);
  std::size_t at = std::string_view::npos;
  if (w.valid) {
    const std::string_view part = std::string_view(text.bytes).substr(w.begin, w.end - w.begin);
    at = Right ? part.rfind(wanted) : part.find(wanted);
  }
  if (at == std::string_view::npos) {
    if (MustFind) fail("substring not found");
    return int_value(-1);
  }
  return int_value(static_cast<std::int64_t>(count_code_points(std::string_view(text.bytes).substr(0, w.begin + at))));
}

Value count_method(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("count", args, {"sub", "start", "end"}, 1);
  const std::string_view wanted = bound.text(0).bytes;
  const Window w = window(ev.heap(), *self.str, bound);
  if (!w.valid) return int_value(0);
  const std::string_view part = std::string_view(self.str->bytes).substr(w.begin, w.end - w.begin);
  if (wanted.empty()) return int_value(static_cast<std::int64_t>(count_code_points(part)) + 1);
  std::int64_t count = 0;
  for (std::size_t at = part.find(wanted); at != std::string_view::npos; at = part.find(wanted, at + wanted.size())) {
    ++count;
  }
  return int_value(count);
}

bool has_affix(std::string_view text, std::string_view affix, bool start) {
  if (affix.size() > text.size()) return false;
  return start ? text.substr(0, affix.size()) == affix : text.substr(text.size() - affix.size()) == affix;
}

template <bool Start>
Value affix_method(Evaluator& ev, const Value& self, const Args& args) {
  const char* name = Start ? "startswith" : "endswith";
  const Bound bound(name, args, {"affix", "start", "end"}, 1);
  std::string_view part = self.str->bytes;
  if (bound.has(1)) {
    const Window w = window(ev.heap(), *self.str, bound);
    if (!w.valid) return bool_value(false);
    part = part.substr(w.begin, w.end - w.begin);
  }
  if (!bound[0].is(Kind::kSeq) || bound[0].seq->kind != SeqKind::kTuple) {
    return bool_value(has_affix(part, bound.text(0).bytes, Start));
  }
  ev.heap().charge(bound[0].seq->items.size());
  for (const Value& affix : bound[0].seq->items) {
    if (!affix.string()) fail(std::string(name) + " needs strings");
    if (has_affix(part, view(affix), Start)) return bool_value(true);
  }
  return bool_value(false);
}

// True when there is a character and all of them pass.
template <bool (*Test)(char32_t)>
Value all_are(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("str method", args, {});
  const std::string& text = self.str->bytes;
  ev.heap().charge(text.size() / 16);
  for (std::size_t at = 0; at < text.size();) {
    if (!Test(next_code_point(text, &at))) return bool_value(false);
  }
  return bool_value(!text.empty());
}

Value is_title(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("istitle", args, {});
  const std::string& text = self.str->bytes;
  ev.heap().charge(text.size() / 16);
  bool in_word = false;
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, &at);
    if (is_upper(c)) {
      if (in_word) return bool_value(false);
      in_word = any = true;
    } else if (is_lower(c)) {
      if (!in_word) return bool_value(false);
    } else {
      in_word = false;
    }
  }
  return bool_value(any);
}

bool ascii(char32_t c) {
  return c < 0x80;
}

Value is_ascii(Evaluator& ev, const Value& self, const Args& args) {
  return self.str->bytes.empty() ? bool_value(true) : all_are<ascii>(ev, self, args);
}

Value is_printable_text(Evaluator& ev, const Value& self, const Args& args) {
  return self.str->bytes.empty() ? bool_value(true) : all_are<is_printable>(ev, self, args);
}

template <bool (*Wanted)(std::string_view)>
Value cased_method(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("str method", args, {});
  ev.heap().charge(self.str->bytes.size() / 16);
  return bool_value(Wanted(self.str->bytes));
}

}  // namespace

std::vector<NamedFn> string_query_methods() {
  return {{"find", find_method_of<false, false>},
          {"rfind", find_method_of<true, false>},
          {"index", find_method_of<false, true>},
          {"rindex", find_method_of<true, true>},
          {"count", count_method},
          {"startswith", affix_method<true>},
          {"endswith", affix_method<false>},
          {"isdigit", all_are<is_digit>},
          {"isdecimal", all_are<is_decimal>},
          {"isnumeric", all_are<is_numeric>},
          {"isalpha", all_are<is_alpha>},
          {"isalnum", all_are<is_alnum>},
          {"isspace", all_are<is_space>},
          {"isupper", cased_method<all_upper>},
          {"islower", cased_method<all_lower>},
          {"istitle", is_title},
          {"isascii", is_ascii},
          {"isprintable", is_printable_text}};
}

}  // namespace foregate::jinja
