#include "engine/text/jinja_error.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_eval_depth.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_text.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {
namespace {

bool hashable(const Value& v) {
  if (v.is(Kind::kDict)) return false;
  if (!v.is(Kind::kSeq)) return true;
  return v.seq->kind != SeqKind::kList && v.seq->kind != SeqKind::kView;
}

bool indexable(const Value& v) {
  return v.is(Kind::kSeq) && v.seq->kind != SeqKind::kView && v.seq->kind != SeqKind::kGenerator;
}

Value index_text(Heap& heap, const Str& text, std::int64_t index, const Value& missing) {
  const std::int64_t size = length(text);
  if (index < 0) index += size;
  if (index < 0 || index >= size) return missing;
  if (size != static_cast<std::int64_t>(text.bytes.size())) {
    heap.charge(static_cast<std::uint64_t>(index) / kBytesPerOperation);
  }
  const std::size_t begin = byte_offset(text, index);
  std::size_t end = begin;
  next_code_point(text.bytes, &end);
  return substring(heap, text, begin, end);
}

}  // namespace

Value Evaluator::eval(const Expr& e, Scope& scope) {
  const Depth depth(*this);
  heap_.charge(1);
  switch (e.kind) {
    case ExprKind::kConst: return e.constant;
    case ExprKind::kName: return eval_name(e, scope);
    case ExprKind::kAttribute: return attribute(eval(*e.kids[0], scope), e.name, e.constant);
    case ExprKind::kItem: {
      const Value object = eval(*e.kids[0], scope);
      return item(object, eval(*e.kids[1], scope), e.constant);
    }
    case ExprKind::kSlice: return eval_slice(e, scope);
    case ExprKind::kCall: return eval_call(e, scope, nullptr);
    case ExprKind::kFilter: return eval_filter(e, scope, nullptr);
    case ExprKind::kTest: return bool_value(eval_test(e, scope));
    case ExprKind::kUnary: {
      const Value v = eval(*e.kids[0], scope);
      if (e.op == Op::kNot) return bool_value(!truthy(v));
      return e.op == Op::kNegate ? negate(v) : positive(v);
    }
    case ExprKind::kBinary: return eval_binary(e, scope);
    case ExprKind::kCompare: return eval_compare(e, scope);
    case ExprKind::kConcat: return eval_concat(e, scope);
    case ExprKind::kConditional:
      if (truthy(eval(*e.kids[1], scope))) return eval(*e.kids[0], scope);
      return e.kids[2] ? eval(*e.kids[2], scope) : Value();
    case ExprKind::kList:
    case ExprKind::kTuple: return eval_list(e, scope);
    case ExprKind::kDict: return eval_dict(e, scope);
  }
  return Value();
}

Value Evaluator::eval_name(const Expr& e, Scope& scope) {
  for (const Scope* s = &scope; s; s = s->parent) {
    for (const auto& [id, value] : s->names) {
      if (id == e.name_id) return value;
    }
  }
  if (const NativeFn function = find_function(e.name)) {
    Callable callable;
    callable.name = e.name;
    callable.native = function;
    return heap_.callable(std::move(callable));
  }
  return e.constant;
}

Value Evaluator::eval_binary(const Expr& e, Scope& scope) {
  const Value left = eval(*e.kids[0], scope);
  if (e.op == Op::kAnd) return truthy(left) ? eval(*e.kids[1], scope) : left;
  if (e.op == Op::kOr) return truthy(left) ? left : eval(*e.kids[1], scope);
  const Value right = eval(*e.kids[1], scope);
  line_ = e.line;
  return arithmetic(*this, e.op, left, right);
}

Value Evaluator::eval_compare(const Expr& e, Scope& scope) {
  Value left = eval(*e.kids[0], scope);
  for (std::size_t i = 0; i < e.ops.size(); ++i) {
    const Value right = eval(*e.kids[i + 1], scope);
    line_ = e.line;
    if (!compare(*this, e.ops[i], left, right)) return bool_value(false);
    left = right;
  }
  return bool_value(true);
}

Value Evaluator::eval_concat(const Expr& e, Scope& scope) {
  TextBuilder out(heap_);
  for (const ExprPtr& kid : e.kids) append_str(heap_, out, eval(*kid, scope));
  return out.finish();
}

Value Evaluator::eval_slice(const Expr& e, Scope& scope) {
  const Value object = eval(*e.kids[0], scope);
  Value parts[3];
  const Value* given[3] = {};
  for (std::size_t i = 0; i < 3; ++i) {
    if (!e.kids[i + 1]) continue;
    parts[i] = eval(*e.kids[i + 1], scope);
    if (!parts[i].none()) given[i] = &parts[i];
  }
  line_ = e.line;
  return slice(*this, object, given[0], given[1], given[2]);
}

Value Evaluator::eval_list(const Expr& e, Scope& scope) {
  std::vector<Value> items;
  items.reserve(e.kids.size());
  for (const ExprPtr& kid : e.kids) items.push_back(eval(*kid, scope));
  return heap_.list(std::move(items), e.kind == ExprKind::kTuple ? SeqKind::kTuple : SeqKind::kList);
}

Value Evaluator::eval_dict(const Expr& e, Scope& scope) {
  Dict* dict = heap_.dict();
  for (std::size_t i = 0; i + 1 < e.kids.size(); i += 2) {
    const Value key = eval(*e.kids[i], scope);
    if (!hashable(key)) fail(std::string("unhashable type: '") + type_name(key) + "'");
    dict->put(heap_, key, eval(*e.kids[i + 1], scope));
  }
  return heap_.dict_value(dict);
}

Value Evaluator::eval_filter(const Expr& e, Scope& scope, const Value* block) {
  const Depth depth(*this);
  Value input;
  if (!e.kids[0]) {
    input = *block;
  } else if (block) {
    input = eval_filter(*e.kids[0], scope, block);
  } else {
    input = eval(*e.kids[0], scope);
  }
  const Args args = eval_args(*e.call, scope);
  line_ = e.line;
  if (!e.filter) refuse("filter '" + e.name.substr(0, 60) + "' is not supported");
  return e.filter(*this, input, args);
}

bool Evaluator::eval_test(const Expr& e, Scope& scope) {
  const Value subject = eval(*e.kids[0], scope);
  const Args args = eval_args(*e.call, scope);
  line_ = e.line;
  if (!e.test) refuse("test '" + e.name.substr(0, 60) + "' is not supported");
  return e.test(*this, subject, args);
}

Value Evaluator::attribute(const Value& object, std::string_view name, const Value& missing) {
  if (object.undefined()) undefined_error(object);
  if (object.is(Kind::kLoop)) return loop_attribute(*object.loop, name, missing);
  if (name.substr(0, 2) == "__" || mutating_method(object, name)) {
    return heap_.undefined("access to attribute '" + std::string(name.substr(0, 60)) + "' of '" + type_name(object) +
                           "' object is unsafe");
  }
  if (const NativeFn method = find_method(object, name)) {
    Callable callable;
    callable.name = name;
    callable.native = method;
    callable.self = object;
    return heap_.callable(std::move(callable));
  }
  const Value* found = nullptr;
  if (object.is(Kind::kDict)) found = object.dict->find(name);
  if (object.is(Kind::kNamespace)) found = object.ns->find(name);
  if (found) return *found;
  if (object.is(Kind::kSeq) && object.seq->kind == SeqKind::kGroup) {
    if (name == "grouper") return object.seq->items[0];
    if (name == "list") return object.seq->items[1];
  }
  if (object.is(Kind::kCursor) && !object.cursor->joiner && name == "current") {
    return object.cursor->items[object.cursor->position];
  }
  return missing;
}

Value Evaluator::item(const Value& object, const Value& key, const Value& missing) {
  if (object.undefined()) undefined_error(object);
  if (key.integral() && !key.wide) {
    std::int64_t index = key.as_int();
    if (object.string()) return index_text(heap_, *object.str, index, missing);
    if (indexable(object)) {
      const auto size = static_cast<std::int64_t>(object.seq->items.size());
      if (index < 0) index += size;
      return index < 0 || index >= size ? missing : object.seq->items[static_cast<std::size_t>(index)];
    }
  }
  if (object.is(Kind::kDict)) {
    if (const Value* found = object.dict->find(heap_, key)) return *found;
  }
  if (!key.string()) return missing;
  if (!missing.str) return attribute(object, view(key), heap_.undefined("'" + key.str->bytes + "' is undefined"));
  return attribute(object, view(key), missing);
}

Seq* Evaluator::iterate(const Value& value) {
  if (value.undefined()) return heap_.list({}).seq;
  std::vector<Value> items;
  if (value.is(Kind::kSeq)) {
    Seq* seq = value.seq;
    if (seq->kind != SeqKind::kGenerator) return seq;
    items.assign(seq->items.begin() + static_cast<std::ptrdiff_t>(seq->next), seq->items.end());
    seq->next = seq->items.size();
  } else if (value.is(Kind::kDict)) {
    for (const auto& entry : value.dict->entries) items.push_back(entry.first);
  } else if (value.string()) {
    for (std::size_t at = 0; at < value.str->bytes.size();) {
      const std::size_t begin = at;
      next_code_point(value.str->bytes, &at);
      items.push_back(substring(heap_, *value.str, begin, at));
    }
  } else {
    fail(std::string("'") + type_name(value) + "' object is not iterable");
  }
  return heap_.list(std::move(items)).seq;
}

}  // namespace foregate::jinja
