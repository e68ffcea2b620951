// Filters about numbers: int, float, round, abs, sum, and the counting ones.
#include <charconv>
#include <cmath>
#include <cstdio>

#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_text.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

// Without surrounding white space and single '_' between digits; false when '_' stands elsewhere.
bool clean_number(std::string_view text, std::string* out) {
  text = strip_right(text.substr(skip_space(text, 0)));
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out->push_back(text[i]);
      continue;
    }
    const bool inside = i > 0 && i + 1 < text.size() && std::isalnum(static_cast<unsigned char>(text[i - 1])) &&
                        std::isalnum(static_cast<unsigned char>(text[i + 1]));
    if (!inside) return false;
  }
  return !out->empty();
}

bool parse_float(std::string_view text, double* number) {
  std::string clean;
  if (!clean_number(text, &clean)) return false;
  std::string_view rest = clean;
  const bool minus = rest[0] == '-';
  if (minus || rest[0] == '+') rest.remove_prefix(1);
  if (rest.empty() || rest[0] == '-') return false;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), *number);
  if (end != rest.data() + rest.size() || error == std::errc::invalid_argument) return false;
  if (error == std::errc::result_out_of_range) *number = rest.find("e-") == std::string_view::npos ? HUGE_VAL : 0.0;
  if (minus) *number = -*number;
  return true;
}

bool parse_int(std::string_view text, int base, std::int64_t* number) {
  std::string clean;
  if (!clean_number(text, &clean)) return false;
  std::string_view rest = clean;
  const bool minus = rest[0] == '-';
  if (minus || rest[0] == '+') rest.remove_prefix(1);
  if (rest.size() > 2 && rest[0] == '0') {
    const char c = static_cast<char>(rest[1] | 0x20);
    const int named = c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 0;
    if (named && (base == named || base == 0)) {
      rest.remove_prefix(2);
      base = named;
    }
  }
  if (base == 0) base = 10;
  if (rest.empty() || rest[0] == '-') return false;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), *number, base);
  if (end != rest.data() + rest.size()) return false;
  if (error == std::errc::result_out_of_range) exhausted("integer too large");
  if (minus) *number = -*number;
  return error == std::errc();
}

Value truncated(double number, const Value& otherwise) {
  if (!std::isfinite(number)) return otherwise;
  if (std::fabs(number) >= 9.2e18) exhausted("integer too large");
  return int_value(static_cast<std::int64_t>(number));
}

Value filter_int(Evaluator&, const Value& in, const Args& args) {
  const Bound bound("int", args, {"default", "base"});
  require_defined(in);
  const Value otherwise = bound.has(0) ? bound[0] : int_value(0);
  if (in.is(Kind::kInt)) return in;
  if (in.is(Kind::kBool)) return int_value(in.as_int());
  if (in.is(Kind::kFloat)) {
    if (std::isinf(in.number)) fail("cannot convert float infinity to integer");
    return truncated(in.number, otherwise);
  }
  if (!in.string()) return otherwise;
  const std::int64_t base = bound.integer(1, 10);
  if (base != 0 && (base < 2 || base > 36)) return otherwise;
  std::int64_t integer = 0;
  if (parse_int(view(in), static_cast<int>(base), &integer)) return int_value(integer);
  double number = 0;
  return parse_float(view(in), &number) ? truncated(number, otherwise) : otherwise;
}

Value filter_float(Evaluator&, const Value& in, const Args& args) {
  const Bound bound("float", args, {"default"});
  require_defined(in);
  const Value otherwise = bound.has(0) ? bound[0] : float_value(0.0);
  if (in.is(Kind::kFloat)) return in;
  if (in.integral()) return float_value(static_cast<double>(in.as_int()));
  double number = 0;
  return in.string() && parse_float(view(in), &number) ? float_value(number) : otherwise;
}

// round(number, digits) of Python: correctly rounded decimal, halves to even.
double round_decimal(double number, std::int64_t digits) {
  if (!std::isfinite(number) || digits > 300) return number;
  if (digits < 0) {
    if (digits < -300) return std::copysign(0.0, number);
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(number / scale) * scale;
  }
  char buffer[768];
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), number);
  return std::strtod(buffer, nullptr);
}

Value filter_round(Evaluator&, const Value& in, const Args& args) {
  const Bound bound("round", args, {"precision", "method"});
  require_defined(in);
  if (!in.numeric()) fail(std::string("round needs a number, not ") + type_name(in));
  const std::int64_t digits = bound.integer(0, 0);
  const std::string method = bound.has(1) ? bound.text(1).bytes : "common";
  if (method != "common" && method != "ceil" && method != "floor") fail("method must be common, ceil or floor");
  const double number = in.is(Kind::kFloat) ? in.number : static_cast<double>(in.as_int());
  if (method == "common") {
    if (in.is(Kind::kFloat)) return float_value(round_decimal(number, digits));
    if (digits >= 0 || in.wide) return positive(in);
    return truncated(round_decimal(number, digits), int_value(0));
  }
  if (digits > 300 || digits < -300) exhausted("round: precision too large");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  return float_value((method == "ceil" ? std::ceil(number * scale) : std::floor(number * scale)) / scale);
}

Value filter_abs(Evaluator&, const Value& in, const Args& args) {
  const Bound bound("abs", args, {});
  require_defined(in);
  if (in.is(Kind::kFloat)) return float_value(std::fabs(in.number));
  if (!in.integral()) fail(std::string("bad operand type for abs(): '") + type_name(in) + "'");
  return in.as_int() < 0 && !in.wide ? negate(in) : positive(in);
}

Value filter_sum(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("sum", args, {"attribute", "start"});
  Value total = bound.has(1) ? bound[1] : int_value(0);
  if (total.string()) fail("sum() cannot sum strings");
  for (const Value& item : ev.iterate(in)->items) {
    total = arithmetic(ev, Op::kAdd, total, bound.given(0) ? attribute_path(ev, item, bound[0]) : item);
  }
  return total;
}

Value filter_length(Evaluator&, const Value& in, const Args& args) {
  const Bound bound("length", args, {});
  if (in.is(Kind::kLoop)) fail("use loop.length");
  return int_value(value_length(in));
}

Value filter_wordcount(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("wordcount", args, {});
  const Value text = to_str(ev.heap(), in);
  ev.heap().charge(text.str->bytes.size() / 16);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.str->bytes.size();) {
    const char32_t c = next_code_point(text.str->bytes, &at);
    const bool word = is_alnum(c) || c == '_';
    words += word && !inside;
    inside = word;
  }
  return int_value(words);
}

}  // namespace

std::vector<NamedFn> number_filters() {
  return {{"int", filter_int}, {"float", filter_float},   {"round", filter_round},  {"abs", filter_abs},
          {"sum", filter_sum}, {"length", filter_length}, {"count", filter_length}, {"wordcount", filter_wordcount}};
}

}  // namespace foregate::jinja
