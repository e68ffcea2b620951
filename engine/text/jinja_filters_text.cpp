// Filters whose result is text.
#include <algorithm>

#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_text.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

Value filter_string(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("string", args, {});
  return to_str(ev.heap(), in);
}

Value filter_upper(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("upper", args, {});
  return map_text(ev.heap(), *to_str(ev.heap(), in).str, upper);
}

Value filter_lower(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("lower", args, {});
  return map_text(ev.heap(), *to_str(ev.heap(), in).str, lower);
}

Value filter_capitalize(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("capitalize", args, {});
  return map_text(ev.heap(), *to_str(ev.heap(), in).str, capitalize);
}

// The title filter starts words after white space and opening brackets and dashes only.
std::string title_words(std::string_view text) {
  std::string out;
  bool start = true;
  std::size_t word = 0;
  const auto flush = [&](std::size_t end) {
    if (end <= word) return;
    std::size_t first = word;
    next_code_point(text, &first);
    out += upper(text.substr(word, first - word)) + lower(text.substr(first, end - first));
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, &at);
    const bool separator = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    if (!separator && start) word = begin;
    if (separator) {
      if (!start) flush(begin);
      out.append(text.substr(begin, at - begin));
    }
    start = separator;
  }
  if (!start) flush(text.size());
  return out;
}

Value filter_title(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("title", args, {});
  return map_text(ev.heap(), *to_str(ev.heap(), in).str, title_words);
}

Value filter_trim(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("trim", args, {"chars"});
  const Value text = to_str(ev.heap(), in);
  return strip(ev.heap(), *text.str, bound.given(0) ? &bound.text(0) : nullptr, true, true);
}

Value filter_replace(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("replace", args, {"old", "new", "count"}, 2);
  Heap& heap = ev.heap();
  const std::int64_t count = bound.given(2) ? bound.integer(2, -1) : -1;
  Str text = *to_str(heap, in).str;
  text.markup = false;  // str(value)
  heap.charge_text(text.bytes.size());
  return replace(heap, text, *to_str(heap, bound[0]).str, *to_str(heap, bound[1]).str, count);
}

Value filter_join(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("join", args, {"d", "attribute"});
  Heap& heap = ev.heap();
  const Value separator = bound.has(0) ? to_str(heap, bound[0]) : heap.text(std::string());
  TextBuilder out(heap);
  bool first = true;
  for (const Value& item : ev.iterate(in)->items) {
    if (!first) out.add(*separator.str);
    first = false;
    append_str(heap, out, bound.given(1) ? attribute_path(ev, item, bound[1]) : item);
  }
  return out.finish();
}

Value filter_indent(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("indent", args, {"width", "first", "blank"});
  require_defined(in);
  if (!in.string()) fail(std::string("indent needs a string, not ") + type_name(in));
  Heap& heap = ev.heap();
  TextBuilder unit(heap);
  if (bound.has(0) && bound[0].string()) {
    unit.add(*bound[0].str);
  } else {
    unit.fill(" ", static_cast<std::uint64_t>(std::max<std::int64_t>(bound.integer(0, 4), 0)));
  }
  const Str prefix = unit.take();
  const bool blank = bound.flag(2, false);
  TextBuilder out(heap);
  if (bound.flag(1, false)) out.add(prefix);
  // A newline is added first so that a last empty line counts as a line.
  const std::vector<TextSpan> lines = line_spans(in.str->bytes + "\n", false);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out.add("\n");
      if (blank || lines[i].end > lines[i].begin) out.add(prefix);
    }
    out.add(*in.str, lines[i].begin, lines[i].end);
  }
  return out.finish(in.str->markup);
}

Value filter_escape(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("escape", args, {});
  const Value empty = ev.heap().text(std::string());
  Str markup = *empty.str;
  markup.markup = true;
  return arithmetic(ev, Op::kAdd, ev.heap().text(std::move(markup)), to_str(ev.heap(), in));
}

Value filter_safe(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("safe", args, {});
  Str markup = *to_str(ev.heap(), in).str;
  markup.markup = true;
  return ev.heap().text(std::move(markup));
}

Value filter_center(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("center", args, {"width"});
  const Value text = to_str(ev.heap(), in);
  return pad(ev.heap(), *text.str, bound.integer(0, 80), " ", 0);
}

Value filter_truncate(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("truncate", args, {"length", "killwords", "end", "leeway"});
  Heap& heap = ev.heap();
  const Value end = bound.has(2) ? str_value(&bound.text(2)) : heap.text("...");
  const std::int64_t wanted = bound.integer(0, 255);
  const std::int64_t leeway = bound.given(3) ? bound.integer(3, 5) : 5;
  if (wanted < length(*end.str) || leeway < 0) fail("truncate: length too small or leeway negative");
  if (value_length(in) <= wanted + leeway) return in;
  if (!in.string()) fail(std::string("truncate needs a string, not ") + type_name(in));
  std::size_t cut = byte_offset(*in.str, wanted - length(*end.str));
  if (!bound.flag(1, false)) {
    const std::size_t space = std::string_view(in.str->bytes).substr(0, cut).rfind(' ');
    if (space != std::string_view::npos) cut = space;
  }
  TextBuilder out(heap);
  out.add(*in.str, 0, cut);
  out.add(*end.str);
  return out.finish(in.str->markup);
}

Value filter_format(Evaluator& ev, const Value& in, const Args& args) {
  Heap& heap = ev.heap();
  const Value text = to_str(heap, in);
  if (args.named.empty()) return percent_format(ev, text, heap.list(args.positional, SeqKind::kTuple));
  if (!args.positional.empty()) fail("format takes positional or keyword arguments, not both");
  Dict* dict = heap.dict();
  for (const auto& [name, value] : args.named) dict->put(heap, heap.text(std::string(name)), value);
  return percent_format(ev, text, heap.dict_value(dict));
}

JsonOptions json_options(const Bound& bound) {
  JsonOptions options;
  options.ascii = bound.flag(0, false);
  options.pretty = bound.given(1);
  if (options.pretty) {
    if (bound[1].string()) {
      options.indent = bound.text(1).bytes;
    } else {
      const std::int64_t width = bound.integer(1, 0);
      if (width > 1024) exhausted("tojson indent wider than 1024");
      options.indent.assign(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
    }
  }
  options.item_separator = options.pretty ? "," : ", ";
  options.key_separator = ": ";
  if (bound.given(2)) {
    const Value& pair = bound[2];
    const bool two = pair.is(Kind::kSeq) && pair.seq->items.size() == 2 && pair.seq->items[0].string() &&
                     pair.seq->items[1].string();
    if (!two) fail("tojson: separators must be two strings");
    options.item_separator = pair.seq->items[0].str->bytes;
    options.key_separator = pair.seq->items[1].str->bytes;
  }
  options.sort_keys = bound.flag(3, false);
  return options;
}

Value filter_tojson(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  return to_json(ev.heap(), in, json_options(bound));
}

void append_quoted(std::string& out, std::string_view text, bool query) {
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                       c == '.' || c == '-' || c == '~' || (c == '/' && !query);
    if (plain) {
      out.push_back(c);
    } else if (c == ' ' && query) {
      out.push_back('+');
    } else {
      out.push_back('%');
      out.push_back("0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4]);
      out.push_back("0123456789ABCDEF"[static_cast<unsigned char>(c) & 15]);
    }
  }
}

Value filter_urlencode(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("urlencode", args, {});
  Heap& heap = ev.heap();
  TextBuilder out(heap);
  const auto add = [&](const Value& v, bool query) {
    const Value text = to_str(heap, v);
    std::string quoted;
    append_quoted(quoted, view(text), query);
    out.add(quoted, !text.str->marks.empty());
  };
  if (!in.is(Kind::kDict) && !in.is(Kind::kSeq)) {
    add(in, false);
    return out.finish();
  }
  std::vector<std::pair<Value, Value>> pairs;
  if (in.is(Kind::kDict)) {
    pairs = in.dict->entries;
  } else {
    for (const Value& item : ev.iterate(in)->items) {
      const Seq& pair = *ev.iterate(item);
      if (pair.items.size() != 2) fail("urlencode needs pairs");
      pairs.emplace_back(pair.items[0], pair.items[1]);
    }
  }
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    if (i) out.add("&");
    add(pairs[i].first, true);
    out.add("=");
    add(pairs[i].second, true);
  }
  return out.finish();
}

}  // namespace

std::vector<NamedFn> text_filters() {
  return {{"string", filter_string},   {"upper", filter_upper},        {"lower", filter_lower},
          {"title", filter_title},     {"trim", filter_trim},          {"capitalize", filter_capitalize},
          {"replace", filter_replace}, {"join", filter_join},          {"indent", filter_indent},
          {"escape", filter_escape},   {"e", filter_escape},           {"safe", filter_safe},
          {"center", filter_center},   {"truncate", filter_truncate},  {"format", filter_format},
          {"tojson", filter_tojson},   {"urlencode", filter_urlencode}};
}

}  // namespace foregate::jinja
