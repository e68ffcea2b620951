#include "engine/text/jinja_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

constexpr int kMaxPrintDepth = 200;

void append_hex_escape(std::string& out, const char* prefix, std::uint32_t c, int digits) {
  out += prefix;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out.push_back("0123456789abcdef"[(c >> shift) & 15]);
}

void append_repr_char(std::string& out, char32_t c, char quote) {
  if (c == static_cast<char32_t>(quote) || c == '\\') {
    out.push_back('\\');
    out.push_back(static_cast<char>(c));
  } else if (c == '\n' || c == '\r' || c == '\t') {
    out += c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
  } else if (is_printable(c)) {
    append_code_point(out, c);
  } else if (c < 0x100) {
    append_hex_escape(out, "\\x", c, 2);
  } else {
    append_hex_escape(out, c < 0x10000 ? "\\u" : "\\U", c, c < 0x10000 ? 4 : 8);
  }
}

void append_str_repr(TextBuilder& out, const Str& text) {
  const bool has_single = text.bytes.find('\'') != std::string::npos;
  const char quote = has_single && text.bytes.find('"') == std::string::npos ? '"' : '\'';
  std::string body;
  for (std::size_t at = 0; at < text.bytes.size();) append_repr_char(body, next_code_point(text.bytes, &at), quote);
  if (text.markup) out.add("Markup(");
  out.add(std::string_view(&quote, 1));
  out.add(body, !text.marks.empty());
  out.add(std::string_view(&quote, 1));
  if (text.markup) out.add(")");
}

void append_json_char(std::string& out, char32_t c, bool ascii) {
  switch (c) {
    case '"': out += "\\\""; return;
    case '\\': out += "\\\\"; return;
    case '\n': out += "\\n"; return;
    case '\r': out += "\\r"; return;
    case '\t': out += "\\t"; return;
    case '\b': out += "\\b"; return;
    case '\f': out += "\\f"; return;
    default: break;
  }
  if (c < 0x20 || (ascii && c > 0x7E && c < 0x10000)) {
    append_hex_escape(out, "\\u", c, 4);
  } else if (ascii && c >= 0x10000) {
    append_hex_escape(out, "\\u", 0xD800 + ((c - 0x10000) >> 10), 4);
    append_hex_escape(out, "\\u", 0xDC00 + ((c - 0x10000) & 0x3FF), 4);
  } else {
    append_code_point(out, c);
  }
}

// One walk over a value; counts depth so that no nesting overflows the stack.
class Printer {
 public:
  Printer(Heap& heap, TextBuilder& out) : heap_(heap), out_(out) {}

  void repr(const Value& v, int depth) {
    enter(depth);
    switch (v.kind) {
      case Kind::kUndefined: out_.add("Undefined"); break;
      case Kind::kNone: out_.add("None"); break;
      case Kind::kBool: out_.add(v.boolean ? "True" : "False"); break;
      case Kind::kInt: out_.add(int_text(v)); break;
      case Kind::kFloat: out_.add(float_repr(v.number)); break;
      case Kind::kString: append_str_repr(out_, *v.str); break;
      case Kind::kSeq: repr_seq(*v.seq, depth); break;
      case Kind::kDict: repr_dict(*v.dict, depth); break;
      case Kind::kNamespace: repr_namespace(*v.ns, depth); break;
      default: fail(std::string("a ") + type_name(v) + " cannot be printed");
    }
  }

  void json(const Value& v, const JsonOptions& options, int depth) {
    enter(depth);
    switch (v.kind) {
      case Kind::kNone: out_.add("null"); break;
      case Kind::kBool: out_.add(v.boolean ? "true" : "false"); break;
      case Kind::kInt: out_.add(int_text(v)); break;
      case Kind::kFloat: json_float(v.number); break;
      case Kind::kString: json_text(*v.str, options); break;
      case Kind::kDict: json_dict(*v.dict, options, depth); break;
      case Kind::kSeq:
        if (v.seq->kind == SeqKind::kList || v.seq->kind == SeqKind::kTuple || v.seq->kind == SeqKind::kGroup) {
          json_list(*v.seq, options, depth);
          break;
        }
        [[fallthrough]];
      default: fail(std::string("object of type ") + type_name(v) + " is not JSON serializable");
    }
  }

 private:
  void enter(int depth) {
    heap_.charge(1);
    if (depth > kMaxPrintDepth) exhausted("value nested too deeply to print");
  }

  void repr_seq(const Seq& seq, int depth) {
    static constexpr std::string_view kViews[] = {"dict_items(", "dict_keys(", "dict_values("};
    if (seq.kind == SeqKind::kGenerator) fail("a generator cannot be printed; use the 'list' filter");
    if (seq.kind == SeqKind::kRange) {
      out_.add("range(" + std::to_string(seq.start) + ", " + std::to_string(seq.stop));
      if (seq.step != 1) out_.add(", " + std::to_string(seq.step));
      return out_.add(")");
    }
    const bool tuple = seq.kind == SeqKind::kTuple || seq.kind == SeqKind::kGroup;
    if (seq.kind == SeqKind::kView) out_.add(kViews[static_cast<std::size_t>(seq.start)]);
    out_.add(tuple ? "(" : "[");
    for (std::size_t i = 0; i < seq.items.size(); ++i) {
      if (i) out_.add(", ");
      repr(seq.items[i], depth + 1);
    }
    if (tuple && seq.items.size() == 1) out_.add(",");
    out_.add(tuple ? ")" : "]");
    if (seq.kind == SeqKind::kView) out_.add(")");
  }

  void repr_dict(const Dict& dict, int depth) {
    out_.add("{");
    bool first = true;
    for (const auto& [key, value] : dict.entries) {
      if (!first) out_.add(", ");
      first = false;
      repr(key, depth + 1);
      out_.add(": ");
      repr(value, depth + 1);
    }
    out_.add("}");
  }

  void repr_namespace(const Namespace& ns, int depth) {
    out_.add("<Namespace {");
    bool first = true;
    for (const auto& [name, value] : ns.attributes) {
      if (!first) out_.add(", ");
      first = false;
      out_.add("'" + name + "': ");
      repr(value, depth + 1);
    }
    out_.add("}>");
  }

  void json_float(double number) {
    if (std::isfinite(number)) return out_.add(float_repr(number));
    out_.add(std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
  }

  void json_text(const Str& text, const JsonOptions& options) {
    std::string body;
    for (std::size_t at = 0; at < text.bytes.size();) {
      append_json_char(body, next_code_point(text.bytes, &at), options.ascii);
    }
    out_.add("\"");
    out_.add(body, !text.marks.empty());
    out_.add("\"");
  }

  void newline(const JsonOptions& options, int depth) {
    if (!options.pretty) return;
    out_.add("\n");
    out_.fill(options.indent, static_cast<std::uint64_t>(depth));
  }

  void json_list(const Seq& seq, const JsonOptions& options, int depth) {
    if (seq.items.empty()) return out_.add("[]");
    out_.add("[");
    for (std::size_t i = 0; i < seq.items.size(); ++i) {
      if (i) out_.add(options.item_separator);
      newline(options, depth + 1);
      json(seq.items[i], options, depth + 1);
    }
    newline(options, depth);
    out_.add("]");
  }

  void json_key(const Value& key, const JsonOptions& options, int depth) {
    if (key.string()) return json_text(*key.str, options);
    if (!key.none() && !key.numeric()) fail("keys must be str, int, float, bool or None");
    out_.add("\"");
    json(key, options, depth);
    out_.add("\"");
  }

  void json_dict(const Dict& dict, const JsonOptions& options, int depth) {
    if (dict.entries.empty()) return out_.add("{}");
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (options.sort_keys) sort_entries(entries);
    out_.add("{");
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i) out_.add(options.item_separator);
      newline(options, depth + 1);
      json_key(entries[i]->first, options, depth + 1);
      out_.add(options.key_separator);
      json(entries[i]->second, options, depth + 1);
    }
    newline(options, depth);
    out_.add("}");
  }

  void sort_entries(std::vector<const std::pair<Value, Value>*>& entries);

  Heap& heap_;
  TextBuilder& out_;
};

void Printer::sort_entries(std::vector<const std::pair<Value, Value>*>& entries) {
  for (const auto* entry : entries) {
    if (!entry->first.string()) fail("sort_keys needs keys that are all strings");
  }
  std::stable_sort(entries.begin(), entries.end(), [this](const auto* a, const auto* b) {
    heap_.charge(1);
    return view(a->first) < view(b->first);
  });
}

}  // namespace

std::string int_text(const Value& integer) {
  if (integer.wide) return std::to_string(static_cast<std::uint64_t>(integer.integer));
  return std::to_string(integer.as_int());
}

std::string float_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  const int exponent = std::atoi(buffer + e + 1);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  const auto fixed = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::fixed).ptr;
  std::string out(buffer, fixed);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

void append_repr(Heap& heap, TextBuilder& out, const Value& value) {
  Printer(heap, out).repr(value, 0);
}

void append_str(Heap& heap, TextBuilder& out, const Value& value) {
  if (value.string()) {
    out.add(*value.str);
  } else if (!value.undefined()) {
    append_repr(heap, out, value);
  }
}

Value to_str(Heap& heap, const Value& value) {
  if (value.string()) return value;
  TextBuilder out(heap);
  append_str(heap, out, value);
  return out.finish();
}

Value to_json(Heap& heap, const Value& value, const JsonOptions& options) {
  TextBuilder out(heap);
  Printer(heap, out).json(value, options, 0);
  return out.finish();
}

}  // namespace foregate::jinja
