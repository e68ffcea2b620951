// The tests of `value is test`.
#include <cmath>

#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_text.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

template <bool (*Test)(const Value&)>
bool plain(Evaluator&, const Value& v, const Args& args) {
  const Bound bound("test", args, {});
  return Test(v);
}

bool is_defined(const Value& v) {
  return !v.undefined();
}
bool is_undefined(const Value& v) {
  return v.undefined();
}
bool is_none(const Value& v) {
  return v.none();
}
bool is_string(const Value& v) {
  return v.string();
}
bool is_boolean(const Value& v) {
  return v.is(Kind::kBool);
}
bool is_true(const Value& v) {
  return v.is(Kind::kBool) && v.boolean;
}
bool is_false(const Value& v) {
  return v.is(Kind::kBool) && !v.boolean;
}
bool is_integer(const Value& v) {
  return v.is(Kind::kInt);
}
bool is_float(const Value& v) {
  return v.is(Kind::kFloat);
}
bool is_number(const Value& v) {
  return v.numeric();
}
bool is_mapping(const Value& v) {
  return v.is(Kind::kDict);
}
bool is_iterable(const Value& v) {
  return v.undefined() || v.string() || v.is(Kind::kSeq) || v.is(Kind::kDict) || v.is(Kind::kLoop);
}
bool is_sequence(const Value& v) {
  if (v.is(Kind::kSeq)) return v.seq->kind != SeqKind::kView && v.seq->kind != SeqKind::kGenerator;
  return v.undefined() || v.string() || v.is(Kind::kDict);
}
bool is_escaped(const Value& v) {
  return v.string() && v.str->markup;
}

template <bool (*Wanted)(std::string_view)>
bool cased_test(Evaluator& ev, const Value& v, const Args& args) {
  const Bound bound("test", args, {});
  return Wanted(view(to_str(ev.heap(), v)));
}

template <Op Which>
bool compared(Evaluator& ev, const Value& v, const Args& args) {
  const Bound bound("test", args, {"other"}, 1);
  return compare(ev, Which, v, bound[0]);
}

bool rest_is(Evaluator& ev, const Value& v, std::int64_t divisor, std::int64_t rest) {
  const Value r = arithmetic(ev, Op::kMod, v, int_value(divisor));
  return equal(ev.heap(), r, int_value(rest));
}

bool is_odd(Evaluator& ev, const Value& v, const Args& args) {
  const Bound bound("odd", args, {});
  return rest_is(ev, v, 2, 1);
}
bool is_even(Evaluator& ev, const Value& v, const Args& args) {
  const Bound bound("even", args, {});
  return rest_is(ev, v, 2, 0);
}
bool is_divisible(Evaluator& ev, const Value& v, const Args& args) {
  const Bound bound("divisibleby", args, {"num"}, 1);
  return equal(ev.heap(), arithmetic(ev, Op::kMod, v, bound[0]), int_value(0));
}

bool is_same(Evaluator& ev, const Value& v, const Args& args) {
  const Bound bound("sameas", args, {"other"}, 1);
  const Value& other = bound[0];
  if (v.kind != other.kind) return false;
  switch (v.kind) {
    case Kind::kSeq: return v.seq == other.seq;
    case Kind::kDict: return v.dict == other.dict;
    case Kind::kUndefined: return v.str == other.str;
    default: return equal(ev.heap(), v, other);
  }
}

bool names_filter(Evaluator&, const Value& v, const Args& args) {
  const Bound bound("filter", args, {});
  return v.string() && find_filter(view(v));
}
bool names_test(Evaluator&, const Value& v, const Args& args) {
  const Bound bound("test", args, {});
  return v.string() && find_test(view(v));
}

}  // namespace

std::vector<NamedTest> tests() {
  return {{"defined", plain<is_defined>},
          {"undefined", plain<is_undefined>},
          {"none", plain<is_none>},
          {"string", plain<is_string>},
          {"boolean", plain<is_boolean>},
          {"true", plain<is_true>},
          {"false", plain<is_false>},
          {"integer", plain<is_integer>},
          {"float", plain<is_float>},
          {"number", plain<is_number>},
          {"mapping", plain<is_mapping>},
          {"iterable", plain<is_iterable>},
          {"sequence", plain<is_sequence>},
          {"callable", plain<is_callable>},
          {"escaped", plain<is_escaped>},
          {"upper", cased_test<all_upper>},
          {"lower", cased_test<all_lower>},
          {"odd", is_odd},
          {"even", is_even},
          {"divisibleby", is_divisible},
          {"sameas", is_same},
          {"filter", names_filter},
          {"test", names_test},
          {"in", compared<Op::kIn>},
          {"eq", compared<Op::kEq>},
          {"equalto", compared<Op::kEq>},
          {"==", compared<Op::kEq>},
          {"ne", compared<Op::kNe>},
          {"!=", compared<Op::kNe>},
          {"lt", compared<Op::kLt>},
          {"lessthan", compared<Op::kLt>},
          {"<", compared<Op::kLt>},
          {"le", compared<Op::kLe>},
          {"<=", compared<Op::kLe>},
          {"gt", compared<Op::kGt>},
          {"greaterthan", compared<Op::kGt>},
          {">", compared<Op::kGt>},
          {"ge", compared<Op::kGe>},
          {">=", compared<Op::kGe>}};
}

}  // namespace foregate::jinja
