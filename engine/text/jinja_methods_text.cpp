// Methods of strings that give text or lists of text.
#include <algorithm>

#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {

Value map_text(Heap& heap, const Str& text, std::string (*map)(std::string_view)) {
  heap.charge(text.bytes.size() / 8);
  TextBuilder out(heap);
  out.add(map(text.bytes), !text.marks.empty());
  return out.finish(text.markup);
}

Value strip(Heap& heap, const Str& text, const Str* chars, bool left, bool right) {
  const std::string_view bytes = text.bytes;
  heap.charge(bytes.size() / kBytesPerOperation);
  const auto drops = [&](std::string_view c, char32_t code) {
    return chars ? chars->bytes.find(c) != std::string::npos : is_space(code);
  };
  std::size_t begin = 0;
  std::size_t end = bytes.size();
  while (left && begin < end) {
    std::size_t next = begin;
    const char32_t code = next_code_point(bytes, &next);
    if (!drops(bytes.substr(begin, next - begin), code)) break;
    begin = next;
  }
  while (right && end > begin) {
    std::size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(bytes[last]) & 0xC0) == 0x80) --last;
    std::size_t next = last;
    const char32_t code = next_code_point(bytes, &next);
    if (!drops(bytes.substr(last, end - last), code)) break;
    end = last;
  }
  return substring(heap, text, begin, end);
}

Value replace(Heap& heap, const Str& text, const Str& old_part, const Str& new_part, std::int64_t count) {
  heap.charge(1 + text.bytes.size() / kBytesPerOperation);
  TextBuilder out(heap);
  std::size_t from = 0;
  std::size_t at = 0;
  for (; count != 0; --count) {
    at = text.bytes.find(old_part.bytes, at);
    if (at == std::string::npos) break;
    heap.charge(1);
    out.add(text, from, at);
    out.add(new_part);
    from = at + old_part.bytes.size();
    at = from;
    if (!old_part.bytes.empty()) continue;
    if (at >= text.bytes.size()) break;
    next_code_point(text.bytes, &at);
  }
  out.add(text, from, text.bytes.size());
  return out.finish(text.markup);
}

std::vector<TextSpan> line_spans(std::string_view text, bool keep_ends) {
  std::vector<TextSpan> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = at;
    const char32_t c = next_code_point(text, &at);
    if (!is_line_end(c)) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back({begin, keep_ends ? at : end});
    begin = at;
  }
  if (begin < text.size()) lines.push_back({begin, text.size()});
  return lines;
}

Value pad(Heap& heap, const Str& text, std::int64_t width, std::string_view filler, int side) {
  const std::int64_t missing = width - length(text);
  if (missing <= 0) return str_value(&text);
  std::int64_t before = side > 0 ? missing : 0;
  if (side == 0) before = missing / 2 + (missing & width & 1);
  TextBuilder out(heap);
  out.fill(filler, static_cast<std::uint64_t>(before));
  out.add(text);
  out.fill(filler, static_cast<std::uint64_t>(missing - before));
  return out.finish(text.markup);
}

namespace {

template <std::string (*Map)(std::string_view)>
Value mapped(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("str method", args, {});
  return map_text(ev.heap(), *self.str, Map);
}

template <bool Left, bool Right>
Value stripped(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("strip", args, {"chars"});
  return strip(ev.heap(), *self.str, bound.given(0) ? &bound.text(0) : nullptr, Left, Right);
}

template <int Side>
Value padded(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("ljust", args, {"width", "fillchar"}, 1);
  const Str* filler = bound.has(1) ? &bound.text(1) : nullptr;
  if (filler && length(*filler) != 1) fail("the fill character must be exactly one character long");
  return pad(ev.heap(), *self.str, bound.integer(0, 0), filler ? std::string_view(filler->bytes) : " ", Side);
}

Value zfill(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("zfill", args, {"width"}, 1);
  const std::int64_t missing = bound.integer(0, 0) - length(*self.str);
  if (missing <= 0) return self;
  const std::size_t sign = !self.str->bytes.empty() && (self.str->bytes[0] == '+' || self.str->bytes[0] == '-') ? 1 : 0;
  TextBuilder out(ev.heap());
  out.add(*self.str, 0, sign);
  out.fill("0", static_cast<std::uint64_t>(missing));
  out.add(*self.str, sign, self.str->bytes.size());
  return out.finish();
}

Value replace_method(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("replace", args, {"old", "new", "count"}, 2);
  return replace(ev.heap(), *self.str, bound.text(0), bound.text(1), bound.integer(2, -1));
}

Value join_method(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("join", args, {"iterable"}, 1);
  require_defined(bound[0]);
  TextBuilder out(ev.heap());
  bool first = true;
  for (const Value& item : ev.iterate(bound[0])->items) {
    if (!item.string()) fail(std::string("join: expected str instance, ") + type_name(item) + " found");
    if (!first) out.add(*self.str);
    first = false;
    out.add(*item.str);
  }
  return out.finish(self.str->markup);
}

using Spans = std::vector<TextSpan>;

// str.split(None): runs of white space separate.
Spans split_space(std::string_view text, std::int64_t max) {
  Spans parts;
  std::size_t at = skip_space(text, 0);
  while (at < text.size()) {
    if (max-- == 0) {
      parts.push_back({at, text.size()});
      break;
    }
    const std::size_t begin = at;
    std::size_t end = at;
    while (end < text.size()) {
      std::size_t next = end;
      if (is_space(next_code_point(text, &next))) break;
      end = next;
    }
    parts.push_back({begin, end});
    at = skip_space(text, end);
  }
  return parts;
}

Spans rsplit_space(std::string_view text, std::int64_t max) {
  Spans parts = split_space(text, -1);
  if (max < 0 || static_cast<std::int64_t>(parts.size()) <= max + 1) return parts;
  const auto merged = parts.size() - static_cast<std::size_t>(max) - 1;
  parts[merged].begin = 0;
  if (max == 0) parts[merged] = {0, strip_right(text).size()};
  parts.erase(parts.begin(), parts.begin() + static_cast<std::ptrdiff_t>(merged));
  // What precedes the last `max` words keeps its leading white space only.
  parts[0].end = strip_right(text.substr(0, parts[0].end)).size();
  return parts;
}

Spans split_on(std::string_view text, std::string_view separator, std::int64_t max) {
  Spans parts;
  std::size_t from = 0;
  for (; max != 0; --max) {
    const std::size_t at = text.find(separator, from);
    if (at == std::string_view::npos) break;
    parts.push_back({from, at});
    from = at + separator.size();
  }
  parts.push_back({from, text.size()});
  return parts;
}

Spans rsplit_on(std::string_view text, std::string_view separator, std::int64_t max) {
  Spans parts;
  std::size_t to = text.size();
  for (; max != 0; --max) {
    const std::size_t at =
        to < separator.size() ? std::string_view::npos : text.rfind(separator, to - separator.size());
    if (at == std::string_view::npos) break;
    parts.push_back({at + separator.size(), to});
    to = at;
  }
  parts.push_back({0, to});
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Value text_list(Heap& heap, const Str& text, const Spans& parts, SeqKind kind = SeqKind::kList) {
  heap.charge(parts.size());
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const TextSpan& part : parts) items.push_back(substring(heap, text, part.begin, part.end));
  return heap.list(std::move(items), kind);
}

template <bool Right>
Value split_method(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("split", args, {"sep", "maxsplit"});
  const std::int64_t max = bound.integer(1, -1);
  const std::string_view text = self.str->bytes;
  ev.heap().charge(text.size() / 16);
  if (!bound.given(0)) return text_list(ev.heap(), *self.str, Right ? rsplit_space(text, max) : split_space(text, max));
  const std::string_view separator = bound.text(0).bytes;
  if (separator.empty()) fail("empty separator");
  return text_list(ev.heap(), *self.str, Right ? rsplit_on(text, separator, max) : split_on(text, separator, max));
}

Value splitlines(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("splitlines", args, {"keepends"});
  ev.heap().charge(self.str->bytes.size() / 16);
  return text_list(ev.heap(), *self.str, line_spans(self.str->bytes, bound.flag(0, false)));
}

template <bool Right>
Value partition(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("partition", args, {"sep"}, 1);
  const std::string& text = self.str->bytes;
  const std::string& separator = bound.text(0).bytes;
  if (separator.empty()) fail("empty separator");
  const std::size_t at = Right ? text.rfind(separator) : text.find(separator);
  const std::size_t end = text.size();
  Spans parts = {{0, end}, {end, end}, {end, end}};
  if (at != std::string::npos) {
    parts = {{0, at}, {at, at + separator.size()}, {at + separator.size(), end}};
  } else if (Right) {
    parts = {{0, 0}, {0, 0}, {0, end}};
  }
  return text_list(ev.heap(), *self.str, parts, SeqKind::kTuple);
}

template <bool Prefix>
Value remove_affix(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("removeprefix", args, {"affix"}, 1);
  const std::string_view text = self.str->bytes;
  const std::string_view affix = bound.text(0).bytes;
  const bool found = Prefix ? text.substr(0, affix.size()) == affix
                            : text.size() >= affix.size() && text.substr(text.size() - affix.size()) == affix;
  if (!found || affix.empty()) return self;
  return Prefix ? substring(ev.heap(), *self.str, affix.size(), text.size())
                : substring(ev.heap(), *self.str, 0, text.size() - affix.size());
}

Value format_method(Evaluator& ev, const Value& self, const Args& args) {
  return brace_format(ev, self, args);
}

}  // namespace

std::vector<NamedFn> string_methods() {
  return {{"upper", mapped<upper>},
          {"lower", mapped<lower>},
          {"title", mapped<title>},
          {"capitalize", mapped<capitalize>},
          {"swapcase", mapped<swap_case>},
          {"strip", stripped<true, true>},
          {"lstrip", stripped<true, false>},
          {"rstrip", stripped<false, true>},
          {"ljust", padded<-1>},
          {"center", padded<0>},
          {"rjust", padded<1>},
          {"zfill", zfill},
          {"replace", replace_method},
          {"join", join_method},
          {"split", split_method<false>},
          {"rsplit", split_method<true>},
          {"splitlines", splitlines},
          {"partition", partition<false>},
          {"rpartition", partition<true>},
          {"removeprefix", remove_affix<true>},
          {"removesuffix", remove_affix<false>},
          {"format", format_method}};
}

}  // namespace foregate::jinja
