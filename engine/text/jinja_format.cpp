// Python's two string formatters: "%s" % values and "{}".format(values).
#include <charconv>
#include <cmath>
#include <cstdio>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_text.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

constexpr std::int64_t kMaxWidth = 100'000;
constexpr std::int64_t kMaxPrecision = 200;

struct Spec {
  std::string fill = " ";
  char align = 0;  // '<', '>', '^', '=' or 0
  char sign = 0;   // '+', ' ' or 0
  bool alternate = false, zero = false, comma = false;
  std::int64_t width = 0;
  std::int64_t precision = -1;
  char type = 0;
};

double as_double(const Value& v) {
  return v.is(Kind::kFloat) ? v.number : static_cast<double>(v.as_int());
}

std::string with_commas(std::string digits) {
  const std::size_t end = std::min(digits.find('.'), digits.size());
  for (std::size_t i = end; i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string float_digits(double number, char type, std::int64_t precision) {
  char format[16];
  char buffer[1024];
  std::snprintf(format, sizeof format, "%%.%d%c", static_cast<int>(precision < 0 ? 6 : precision), type);
  std::snprintf(buffer, sizeof buffer, format, number);
  return buffer;
}

std::string int_digits(const Value& v, char type) {
  if (type == 'd') {
    std::string text = int_text(v);
    return text[0] == '-' ? text.substr(1) : text;
  }
  if (v.wide) exhausted("integer too large");
  const std::int64_t i = v.as_int();
  const auto magnitude = i < 0 ? 0 - static_cast<std::uint64_t>(i) : static_cast<std::uint64_t>(i);
  char buffer[80];
  const int base = type == 'b' ? 2 : type == 'o' ? 8 : 16;
  std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, magnitude, base).ptr);
  return type == 'X' ? upper(text) : text;
}

// Sign, prefix and digits of a number under a spec, padded.
void add_number(TextBuilder& out, bool negative, const std::string& prefix, std::string digits, const Spec& spec) {
  if (spec.comma) digits = with_commas(std::move(digits));
  std::string head = negative ? "-" : spec.sign ? std::string(1, spec.sign) : "";
  head += prefix;
  const std::int64_t missing = spec.width - static_cast<std::int64_t>(head.size() + digits.size());
  const std::uint64_t room = missing > 0 ? static_cast<std::uint64_t>(missing) : 0;
  const char align = spec.align ? spec.align : spec.zero ? '=' : '>';
  const std::string fill = spec.zero && !spec.align ? "0" : spec.fill;
  const std::uint64_t before = align == '>' ? room : align == '^' ? room / 2 : 0;
  out.fill(fill, before);
  out.add(head);
  if (align == '=') out.fill(fill, room);
  out.add(digits);
  if (align != '=') out.fill(fill, room - before);
}

void add_text(Heap& heap, TextBuilder& out, const Value& value, const Spec& spec) {
  const Str& text = *value.str;
  const std::size_t end = spec.precision >= 0 ? byte_offset(text, spec.precision) : text.bytes.size();
  const Value cut = substring(heap, text, 0, end);
  const std::int64_t missing = spec.width - length(*cut.str);
  const std::uint64_t room = missing > 0 ? static_cast<std::uint64_t>(missing) : 0;
  const std::uint64_t before = spec.align == '>' ? room : spec.align == '^' ? room / 2 : 0;
  out.fill(spec.fill, before);
  out.add(*cut.str);
  out.fill(spec.fill, room - before);
}

void add_float(TextBuilder& out, double number, const Spec& spec) {
  const bool negative = std::signbit(number);
  double magnitude = negative ? -number : number;
  const char type = spec.type == '%' ? 'f' : spec.type;
  if (spec.type == '%') magnitude *= 100;
  std::string digits = type ? float_digits(magnitude, type, spec.precision) : float_repr(magnitude);
  if (!type && spec.precision >= 0) digits = float_digits(magnitude, 'g', std::max<std::int64_t>(spec.precision, 1));
  if (spec.type == '%') digits += "%";
  add_number(out, negative, "", digits, spec);
}

void add_int(TextBuilder& out, const Value& v, const Spec& spec) {
  const char type = spec.type ? spec.type : 'd';
  const std::string prefix = spec.alternate && type != 'd' ? std::string("0") + type : "";
  add_number(out, !v.wide && v.as_int() < 0, prefix, int_digits(v, type), spec);
}

std::int64_t parse_count(std::string_view text, std::size_t* at, std::int64_t limit) {
  std::int64_t n = 0;
  for (; *at < text.size() && text[*at] >= '0' && text[*at] <= '9'; ++*at) {
    n = n * 10 + (text[*at] - '0');
    if (n > limit) exhausted("format width or precision too large");
  }
  return n;
}

// ---- "%s" % values ----

class Percent {
 public:
  Percent(Evaluator& ev, const Value& format, const Value& values)
      : ev_(ev), format_(*format.str), values_(values), out_(ev.heap()) {}

  Value run() {
    const std::string_view text = format_.bytes;
    for (at_ = 0; at_ < text.size();) {
      const std::size_t percent = std::min(text.find('%', at_), text.size());
      out_.add(format_, at_, percent);
      at_ = percent + 1;
      if (percent < text.size()) directive();
    }
    const bool tuple = is_tuple();
    const bool surplus = tuple ? used_ < values_.seq->items.size() : used_ == 0 && !subscriptable();
    if (surplus) fail("not all arguments converted during string formatting");
    return out_.finish(format_.markup);
  }

 private:
  bool is_tuple() const {
    return values_.is(Kind::kSeq) && (values_.seq->kind == SeqKind::kTuple || values_.seq->kind == SeqKind::kGroup);
  }
  // Python lets a value that has items stand unused, as a mapping would.
  bool subscriptable() const {
    if (values_.undefined() || values_.is(Kind::kDict)) return true;
    return values_.is(Kind::kSeq) && (values_.seq->kind == SeqKind::kList || values_.seq->kind == SeqKind::kRange);
  }

  Value next_value() {
    if (is_tuple()) {
      if (used_ >= values_.seq->items.size()) fail("not enough arguments for format string");
      return values_.seq->items[used_++];
    }
    if (used_++ > 0) fail("not enough arguments for format string");
    return values_;
  }

  Value named_value() {
    const std::size_t close = format_.bytes.find(')', at_);
    if (close == std::string::npos) fail("incomplete format key");
    if (!values_.is(Kind::kDict)) fail("format requires a mapping");
    const std::string key = format_.bytes.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    const Value* found = values_.dict->find(key);
    if (!found) fail("format key '" + key.substr(0, 60) + "' is missing");
    ++used_;
    return *found;
  }

  void directive() {
    const std::string_view text = format_.bytes;
    const bool named = at_ < text.size() && text[at_] == '(';
    const Value by_name = named ? named_value() : Value();
    Spec spec;
    spec.align = '>';
    for (; at_ < text.size() && std::string_view("-+ 0#").find(text[at_]) != std::string_view::npos; ++at_) {
      if (text[at_] == '-') spec.align = '<';
      if (text[at_] == '+' || (text[at_] == ' ' && !spec.sign)) spec.sign = text[at_];
      spec.zero |= text[at_] == '0';
      spec.alternate |= text[at_] == '#';
    }
    spec.width = parse_count(text, &at_, kMaxWidth);
    if (at_ < text.size() && text[at_] == '.') {
      ++at_;
      spec.precision = parse_count(text, &at_, kMaxPrecision);
    }
    if (at_ >= text.size()) fail("incomplete format");
    const char type = text[at_++];
    if (type == '%') return out_.add("%");
    convert(type, named ? by_name : next_value(), spec);
  }

  void convert(char type, const Value& v, Spec spec) {
    Heap& heap = ev_.heap();
    if (type == 's' || type == 'r') {
      Value text = type == 's' ? to_str(heap, v) : Value();
      if (type == 'r') {
        TextBuilder repr(heap);
        append_repr(heap, repr, v);
        text = repr.finish();
      }
      return add_text(heap, out_, text, spec);
    }
    require_defined(v);
    if (spec.zero && spec.align == '>') spec.align = 0;
    if (std::string_view("diuxXo").find(type) != std::string_view::npos) {
      if (!v.numeric() || (v.is(Kind::kFloat) && type != 'd' && type != 'i' && type != 'u')) {
        fail(std::string("%") + type + " format: a number is required, not " + type_name(v));
      }
      spec.type = type == 'i' || type == 'u' ? 'd' : type;
      if (spec.precision >= 0) refuse("precision of an integer format is not supported");
      if (v.is(Kind::kFloat) && !(std::fabs(v.number) < 9e18)) exhausted("integer too large");
      return add_int(out_, v.is(Kind::kFloat) ? int_value(static_cast<std::int64_t>(v.number)) : v, spec);
    }
    if (std::string_view("fFeEgG").find(type) == std::string_view::npos) {
      fail(std::string("unsupported format character '") + type + "'");
    }
    if (!v.numeric()) fail(std::string("must be real number, not ") + type_name(v));
    spec.type = type;
    add_float(out_, as_double(v), spec);
  }

  Evaluator& ev_;
  const Str& format_;
  const Value& values_;
  TextBuilder out_;
  std::size_t at_ = 0;
  std::size_t used_ = 0;
};

// ---- "{}".format(values) ----

Spec parse_spec(std::string_view text) {
  Spec spec;
  std::size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  std::size_t first = 0;
  if (!text.empty()) next_code_point(text, &first);
  if (first > 0 && first < text.size() && is_align(text[first])) {
    spec.fill = std::string(text.substr(0, first));
    spec.align = text[first];
    at = first + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[at++];
  }
  if (at < text.size() && std::string_view("+- ").find(text[at]) != std::string_view::npos) {
    spec.sign = text[at] == '-' ? '\0' : text[at];
    ++at;
  }
  if (at < text.size() && text[at] == '#') spec.alternate = true, ++at;
  if (at < text.size() && text[at] == '0') spec.zero = true, ++at;
  spec.width = parse_count(text, &at, kMaxWidth);
  if (at < text.size() && text[at] == ',') spec.comma = true, ++at;
  if (at < text.size() && text[at] == '.') spec.precision = parse_count(text, &++at, kMaxPrecision);
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) fail("invalid format specifier");
  return spec;
}

class Brace {
 public:
  Brace(Evaluator& ev, const Value& format, const Args& args)
      : ev_(ev), format_(*format.str), args_(args), out_(ev.heap()) {}

  Value run() {
    if (format_.markup) refuse("format() of a safe string is not supported");
    const std::string_view text = format_.bytes;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t brace = std::min(text.find_first_of("{}", at), text.size());
      out_.add(format_, at, brace);
      at = brace;
      if (at == text.size()) break;
      if (at + 1 < text.size() && text[at + 1] == text[at]) {
        out_.add(text.substr(at, 1));
        at += 2;
        continue;
      }
      if (text[at] == '}') fail("Single '}' encountered in format string");
      const std::size_t close = text.find('}', at);
      if (close == std::string_view::npos) fail("expected '}' before end of string");
      field(text.substr(at + 1, close - at - 1));
      at = close + 1;
    }
    return out_.finish();
  }

 private:
  void field(std::string_view text) {
    if (text.find('{') != std::string_view::npos) refuse("nested fields of format() are not supported");
    const std::size_t colon = text.find(':');
    const std::string_view spec_text = colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
    std::string_view name = text.substr(0, colon);
    const std::size_t bang = name.find('!');
    const std::string_view conversion = bang == std::string_view::npos ? std::string_view() : name.substr(bang + 1);
    name = name.substr(0, bang);
    Value v = lookup(name);
    if (conversion == "r") {
      TextBuilder repr(ev_.heap());
      append_repr(ev_.heap(), repr, v);
      v = repr.finish();
    } else if (conversion == "s") {
      v = to_str(ev_.heap(), v);
    } else if (!conversion.empty()) {
      fail("unknown conversion specifier '" + std::string(conversion.substr(0, 10)) + "'");
    }
    add(v, spec_text);
  }

  Value lookup(std::string_view name) {
    std::size_t end = std::min(name.find_first_of(".["), name.size());
    if (end == 0 && !name.empty()) fail("format field without a name");
    Value v = first_value(name.substr(0, end));
    while (end < name.size()) {
      const bool attribute = name[end] == '.';
      const std::size_t stop =
          attribute ? std::min(name.find_first_of(".[", end + 1), name.size()) : name.find(']', end);
      if (stop == std::string_view::npos) fail("expected ']' in format field");
      const std::string part(name.substr(end + 1, stop - end - 1));
      if (part.empty()) fail("empty attribute in format string");
      if (attribute) {
        v = ev_.attribute(v, part, ev_.heap().undefined("'" + part + "' is undefined"));
      } else {
        const bool digits = part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos;
        v = ev_.item(v, digits ? int_value(std::stoll(part)) : ev_.heap().text(part), Value());
      }
      end = attribute ? stop : stop + 1;
    }
    return v;
  }

  Value first_value(std::string_view name) {
    const bool digits = name.size() < 10 && name.find_first_not_of("0123456789") == std::string_view::npos;
    if (!digits) {
      const Value* found = args_.find(name);
      if (!found) fail("format: no argument named '" + std::string(name.substr(0, 60)) + "'");
      return *found;
    }
    (name.empty() ? saw_automatic_ : saw_manual_) = true;
    if (saw_automatic_ && saw_manual_) fail("format fields are numbered both by hand and automatically");
    const std::size_t index = name.empty() ? automatic_++ : std::stoull(std::string(name));
    if (index >= args_.positional.size()) fail("Replacement index out of range for positional args tuple");
    return args_.positional[index];
  }

  void add(const Value& v, std::string_view spec_text) {
    Heap& heap = ev_.heap();
    const Spec spec = parse_spec(spec_text);
    if (v.undefined() && !spec_text.empty()) undefined_error(v);
    if (spec_text.empty()) return append_str(heap, out_, v);
    if (v.string()) {
      if (spec.type && spec.type != 's') fail("invalid format code for a string");
      return add_text(heap, out_, v, spec);
    }
    if (!v.numeric()) fail(std::string("unsupported format string for ") + type_name(v));
    const bool float_type = std::string_view("feEgGF%").find(spec.type) != std::string_view::npos && spec.type;
    if (v.is(Kind::kFloat) || float_type) {
      if (spec.type && !float_type) fail("invalid format code for a float");
      return add_float(out_, as_double(v), spec);
    }
    if (spec.type && std::string_view("dxXob").find(spec.type) == std::string_view::npos) {
      fail("invalid format code for an integer");
    }
    add_int(out_, v, spec);
  }

  Evaluator& ev_;
  const Str& format_;
  const Args& args_;
  TextBuilder out_;
  std::size_t automatic_ = 0;
  bool saw_automatic_ = false, saw_manual_ = false;
};

}  // namespace

Value percent_format(Evaluator& ev, const Value& format, const Value& values) {
  if (format.str->markup) refuse("'%' on a safe string is not supported");
  return Percent(ev, format, values).run();
}

Value brace_format(Evaluator& ev, const Value& format, const Args& args) {
  return Brace(ev, format, args).run();
}

}  // namespace foregate::jinja
