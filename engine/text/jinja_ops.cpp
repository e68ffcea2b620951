#include "engine/text/jinja_ops.h"

#include <algorithm>
#include <cmath>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_text.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

double as_double(const Value& v) {
  return v.is(Kind::kFloat) ? v.number : static_cast<double>(v.as_int());
}

[[noreturn]] void bad_operands(const char* op, const Value& a, const Value& b) {
  fail(std::string("unsupported operand types for ") + op + ": '" + type_name(a) + "' and '" + type_name(b) + "'");
}

const char* op_name(Op op) {
  switch (op) {
    case Op::kAdd: return "+";
    case Op::kSub: return "-";
    case Op::kMul: return "*";
    case Op::kDiv: return "/";
    case Op::kFloorDiv: return "//";
    case Op::kMod: return "%";
    case Op::kPow: return "**";
    default: return "operator";
  }
}

std::int64_t int_power(std::int64_t base, std::int64_t exponent) {
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) exhausted("integer too large");
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) exhausted("integer too large");
  }
  return result;
}

std::int64_t int_floor_div(std::int64_t a, std::int64_t b) {
  if (b == -1 && a == INT64_MIN) exhausted("integer too large");
  return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

Value int_arithmetic(Op op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case Op::kAdd: overflow = __builtin_add_overflow(a, b, &result); break;
    case Op::kSub: overflow = __builtin_sub_overflow(a, b, &result); break;
    case Op::kMul: overflow = __builtin_mul_overflow(a, b, &result); break;
    case Op::kPow:
      if (b < 0) {
        if (a == 0) fail("division by zero");
        return float_value(std::pow(static_cast<double>(a), static_cast<double>(b)));
      }
      return int_value(int_power(a, b));
    default:
      if (b == 0) fail("division by zero");
      if (op == Op::kDiv) return float_value(static_cast<double>(a) / static_cast<double>(b));
      if (op == Op::kFloorDiv) return int_value(int_floor_div(a, b));
      return int_value(b == -1 ? 0 : a - int_floor_div(a, b) * b);
  }
  if (overflow) exhausted("integer too large");
  return int_value(result);
}

Value float_arithmetic(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd: return float_value(a + b);
    case Op::kSub: return float_value(a - b);
    case Op::kMul: return float_value(a * b);
    case Op::kPow: {
      if (a == 0 && b < 0) fail("division by zero");
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail("result too large");
      if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) refuse("complex numbers are not supported");
      return float_value(result);
    }
    default: break;
  }
  if (b == 0) fail("division by zero");
  if (op == Op::kDiv) return float_value(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == Op::kMod) return float_value(rest == 0 ? std::copysign(0.0, b) : rest);
  return float_value(std::round((a - rest) / b));
}

void append_escaped(TextBuilder& out, const Str& text) {
  if (text.markup) return out.add(text);
  for (std::size_t i = 0; i < text.bytes.size(); ++i) {
    switch (text.bytes[i]) {
      case '&': out.add("&amp;", !text.marks.empty()); break;
      case '<': out.add("&lt;", !text.marks.empty()); break;
      case '>': out.add("&gt;", !text.marks.empty()); break;
      case '"': out.add("&#34;", !text.marks.empty()); break;
      case '\'': out.add("&#39;", !text.marks.empty()); break;
      default: out.add(text, i, i + 1); break;
    }
  }
}

Value add_text(Heap& heap, const Str& a, const Str& b) {
  TextBuilder out(heap);
  if (a.markup || b.markup) {
    append_escaped(out, a);
    append_escaped(out, b);
    return out.finish(true);
  }
  out.add(a);
  out.add(b);
  return out.finish();
}

bool concatenable(const Value& a, const Value& b) {
  if (!a.is(Kind::kSeq) || !b.is(Kind::kSeq)) return false;
  const auto tuple = [](const Value& v) { return v.seq->kind == SeqKind::kTuple || v.seq->kind == SeqKind::kGroup; };
  if (tuple(a) && tuple(b)) return true;
  return a.seq->kind == SeqKind::kList && b.seq->kind == SeqKind::kList;
}

Value add_lists(Heap& heap, const Seq& a, const Seq& b) {
  heap.charge(a.items.size() + b.items.size());
  std::vector<Value> items(a.items);
  items.insert(items.end(), b.items.begin(), b.items.end());
  return heap.list(std::move(items), a.kind == SeqKind::kList ? SeqKind::kList : SeqKind::kTuple);
}

Value repeat(Heap& heap, const Value& what, std::int64_t times) {
  const auto count = static_cast<std::uint64_t>(std::max<std::int64_t>(times, 0));
  if (what.string()) {
    TextBuilder out(heap);
    out.fill(what.str->bytes, count, !what.str->marks.empty());
    return out.finish(what.str->markup);
  }
  const std::vector<Value>& unit = what.seq->items;
  if (!unit.empty() && count > heap.max_text_bytes() / unit.size()) exhausted("list longer than the limit");
  heap.charge(count * unit.size());
  std::vector<Value> items;
  items.reserve(count * unit.size());
  for (std::uint64_t i = 0; i < count; ++i) items.insert(items.end(), unit.begin(), unit.end());
  return heap.list(std::move(items), what.seq->kind == SeqKind::kList ? SeqKind::kList : SeqKind::kTuple);
}

bool repeatable(const Value& v) {
  return v.string() || concatenable(v, v);
}

bool contains_text(Heap& heap, const Str& text, const Value& item) {
  require_defined(item);
  if (!item.string()) fail(std::string("'in <string>' requires string as left operand, not ") + type_name(item));
  heap.charge(text.bytes.size() / kBytesPerOperation);
  return text.bytes.find(item.str->bytes) != std::string::npos;
}

// Python's slice.indices(): start, stop and step for a sequence of `size`.
struct Steps {
  std::int64_t start, stop, step;
};

std::int64_t slice_index(const Value& v) {
  require_defined(v);
  if (!v.integral() || v.wide) fail("slice indices must be integers or None");
  return v.as_int();
}

Steps slice_steps(std::int64_t size, const Value* start, const Value* stop, const Value* step) {
  Steps s{0, size, step ? slice_index(*step) : 1};
  if (s.step == 0) fail("slice step cannot be zero");
  const std::int64_t low = s.step < 0 ? -1 : 0;
  const std::int64_t high = s.step < 0 ? size - 1 : size;
  const auto clamp = [&](const Value* v, std::int64_t otherwise) {
    if (!v) return otherwise;
    std::int64_t i = slice_index(*v);
    if (i < 0) i = i < -size ? low : i + size;
    return std::clamp(i, low, high);
  };
  s.start = clamp(start, s.step < 0 ? high : low);
  s.stop = clamp(stop, s.step < 0 ? low : high);
  return s;
}

Value slice_text(Heap& heap, const Str& text, const Steps& s) {
  if (s.step == 1) {
    if (s.start >= s.stop) return heap.text(std::string());
    return substring(heap, text, byte_offset(text, s.start), byte_offset(text, s.stop));
  }
  std::vector<std::size_t> offsets;
  heap.charge(static_cast<std::uint64_t>(length(text)) / 8);
  for (std::size_t at = 0; at < text.bytes.size(); next_code_point(text.bytes, &at)) offsets.push_back(at);
  offsets.push_back(text.bytes.size());
  TextBuilder out(heap);
  const auto stop = static_cast<__int128>(s.stop);
  for (__int128 i = s.start; s.step > 0 ? i < stop : i > stop; i += s.step) {
    out.add(text, offsets[static_cast<std::size_t>(i)], offsets[static_cast<std::size_t>(i) + 1]);
  }
  return out.finish(text.markup);
}

}  // namespace

void undefined_error(const Value& undefined) {
  fail(undefined.str ? undefined.str->bytes : "value is undefined");
}

void require_defined(const Value& v) {
  if (v.undefined()) undefined_error(v);
}

Value arithmetic(Evaluator& ev, Op op, const Value& a, const Value& b) {
  if (op == Op::kMod && a.string()) return percent_format(ev, a, b);
  require_defined(a);
  require_defined(b);
  if (a.wide || b.wide) exhausted("integer too large");
  if (a.numeric() && b.numeric()) {
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) return float_arithmetic(op, as_double(a), as_double(b));
    return int_arithmetic(op, a.as_int(), b.as_int());
  }
  if (op == Op::kAdd) {
    if (a.string() && b.string()) return add_text(ev.heap(), *a.str, *b.str);
    if (concatenable(a, b)) return add_lists(ev.heap(), *a.seq, *b.seq);
  }
  if (op == Op::kMul) {
    if (repeatable(a) && b.integral()) return repeat(ev.heap(), a, b.as_int());
    if (repeatable(b) && a.integral()) return repeat(ev.heap(), b, a.as_int());
  }
  bad_operands(op_name(op), a, b);
}

Value negate(const Value& v) {
  require_defined(v);
  if (v.is(Kind::kFloat)) return float_value(-v.number);
  if (!v.integral()) fail(std::string("bad operand type for unary -: '") + type_name(v) + "'");
  if (v.wide || v.as_int() == INT64_MIN) exhausted("integer too large");
  return int_value(-v.as_int());
}

Value positive(const Value& v) {
  require_defined(v);
  if (!v.numeric()) fail(std::string("bad operand type for unary +: '") + type_name(v) + "'");
  return v.is(Kind::kBool) ? int_value(v.as_int()) : v;
}

bool less(Heap& heap, const Value& a, const Value& b, int depth) {
  heap.charge(1);
  require_defined(a);
  require_defined(b);
  if (depth > 200) exhausted("values nested too deeply to compare");
  if (a.numeric() && b.numeric()) {
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) return as_double(a) < as_double(b);
    if (a.wide || b.wide) return a.wide && b.wide ? a.integer < b.integer : b.wide;
    return a.as_int() < b.as_int();
  }
  if (a.string() && b.string()) {
    heap.charge(std::min(a.str->bytes.size(), b.str->bytes.size()) / kBytesPerOperation);
    return a.str->bytes < b.str->bytes;  // UTF-8 order is code point order
  }
  if (!concatenable(a, b)) {
    fail(std::string("'<' not supported between instances of '") + type_name(a) + "' and '" + type_name(b) + "'");
  }
  const std::vector<Value>& x = a.seq->items;
  const std::vector<Value>& y = b.seq->items;
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (!equal(heap, x[i], y[i])) return less(heap, x[i], y[i], depth + 1);
  }
  return x.size() < y.size();
}

bool compare(Evaluator& ev, Op op, const Value& a, const Value& b) {
  Heap& heap = ev.heap();
  switch (op) {
    case Op::kEq: return equal(heap, a, b);
    case Op::kNe: return !equal(heap, a, b);
    case Op::kIn: return contains(ev, b, a);
    case Op::kNotIn: return !contains(ev, b, a);
    case Op::kLt: return less(heap, a, b);
    case Op::kGt: return less(heap, b, a);
    default: break;
  }
  const bool numbers = a.numeric() && b.numeric();
  const bool below = op == Op::kLe ? less(heap, a, b) : less(heap, b, a);
  if (below) return true;
  if (numbers) return equal(heap, a, b);
  return !(op == Op::kLe ? less(heap, b, a) : less(heap, a, b));
}

bool contains(Evaluator& ev, const Value& container, const Value& item) {
  if (container.string()) return contains_text(ev.heap(), *container.str, item);
  if (container.is(Kind::kDict)) return container.dict->find(ev.heap(), item) != nullptr;
  if (!container.is(Kind::kSeq) && !container.undefined()) {
    fail(std::string("argument of type '") + type_name(container) + "' is not iterable");
  }
  for (const Value& v : ev.iterate(container)->items) {
    if (equal(ev.heap(), v, item)) return true;
  }
  return false;
}

bool has_length(const Value& v) {
  if (v.is(Kind::kSeq)) return v.seq->kind != SeqKind::kGenerator;
  return v.undefined() || v.string() || v.is(Kind::kDict);
}

std::int64_t value_length(const Value& v) {
  if (!has_length(v)) fail(std::string("object of type '") + type_name(v) + "' has no len()");
  if (v.undefined()) return 0;
  if (v.string()) return length(*v.str);
  if (v.is(Kind::kDict)) return static_cast<std::int64_t>(v.dict->entries.size());
  return static_cast<std::int64_t>(v.seq->items.size());
}

Value slice(Evaluator& ev, const Value& object, const Value* start, const Value* stop, const Value* step) {
  require_defined(object);
  if (object.string()) return slice_text(ev.heap(), *object.str, slice_steps(length(*object.str), start, stop, step));
  if (!object.is(Kind::kSeq) || object.seq->kind == SeqKind::kView || object.seq->kind == SeqKind::kGenerator) {
    fail(std::string("'") + type_name(object) + "' object cannot be sliced");
  }
  const Seq& seq = *object.seq;
  const Steps s = slice_steps(static_cast<std::int64_t>(seq.items.size()), start, stop, step);
  std::vector<Value> items;
  const auto end = static_cast<__int128>(s.stop);
  for (__int128 i = s.start; s.step > 0 ? i < end : i > end; i += s.step) {
    items.push_back(seq.items[static_cast<std::size_t>(i)]);
  }
  if (seq.kind == SeqKind::kRange) {
    Value part;
    part.kind = Kind::kSeq;
    ev.heap().charge(1 + items.size());
    part.seq = ev.heap().range(seq.start + s.start * seq.step, seq.start + s.stop * seq.step, seq.step * s.step);
    part.seq->items = std::move(items);
    return part;
  }
  const bool tuple = seq.kind == SeqKind::kTuple || seq.kind == SeqKind::kGroup;
  return ev.heap().list(std::move(items), tuple ? SeqKind::kTuple : SeqKind::kList);
}

}  // namespace foregate::jinja
