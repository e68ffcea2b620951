// Python's operators over template values. All throw Error for types Python refuses.
#pragma once

#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_eval.h"

namespace foregate::jinja {

Value arithmetic(Evaluator& ev, Op op, const Value& a, const Value& b);
Value negate(const Value& v);
Value positive(const Value& v);
bool compare(Evaluator& ev, Op op, const Value& a, const Value& b);
bool less(Heap& heap, const Value& a, const Value& b, int depth = 0);
bool contains(Evaluator& ev, const Value& container, const Value& item);
std::int64_t value_length(const Value& v);  // len()
bool has_length(const Value& v);
Value slice(Evaluator& ev, const Value& object, const Value* start, const Value* stop, const Value* step);
// "format" % values and str.format
Value percent_format(Evaluator& ev, const Value& format, const Value& values);
Value brace_format(Evaluator& ev, const Value& format, const Args& args);
[[noreturn]] void undefined_error(const Value& undefined);
void require_defined(const Value& v);

}  // namespace foregate::jinja
