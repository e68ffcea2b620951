#include <algorithm>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_ops.h"

namespace foregate::jinja {
namespace {

Value loop_cycle(Evaluator&, const Value& self, const Args& args) {
  if (args.positional.empty()) fail("no items for cycling given");
  return args.positional[static_cast<std::size_t>(self.loop->index0) % args.positional.size()];
}

Value loop_changed(Evaluator& ev, const Value& self, const Args& args) {
  Loop& loop = *self.loop;
  bool same = loop.has_changed && loop.changed.size() == args.positional.size();
  for (std::size_t i = 0; same && i < loop.changed.size(); ++i) {
    same = equal(ev.heap(), loop.changed[i], args.positional[i]);
  }
  if (same) return bool_value(false);
  loop.has_changed = true;
  loop.changed = args.positional;
  return bool_value(true);
}

Value call_joiner(Evaluator& ev, Cursor& joiner) {
  if (joiner.position++ == 0) return ev.heap().text(std::string());
  return joiner.items[0];
}

}  // namespace

Args Evaluator::eval_args(const CallArgs& call, Scope& scope) {
  Args args;
  args.positional.reserve(call.positional.size());
  for (const ExprPtr& e : call.positional) args.positional.push_back(eval(*e, scope));
  for (const auto& [name, e] : call.named) {
    if (args.find(name)) fail("keyword argument '" + name + "' repeated");
    args.named.emplace_back(name, eval(*e, scope));
  }
  if (call.rest) {
    const Seq& rest = *iterate(eval(*call.rest, scope));
    heap_.charge(rest.items.size());
    args.positional.insert(args.positional.end(), rest.items.begin(), rest.items.end());
  }
  if (call.named_rest) {
    const Value rest = eval(*call.named_rest, scope);
    if (!rest.is(Kind::kDict)) fail("argument after ** must be a mapping");
    heap_.charge(rest.dict->entries.size());
    for (const auto& [key, value] : rest.dict->entries) {
      if (!key.string()) fail("keywords must be strings");
      heap_.charge(args.named.size() / 8);
      if (args.find(view(key))) fail("keyword argument '" + key.str->bytes + "' repeated");
      args.named.emplace_back(view(key), value);
    }
  }
  return args;
}

Value Evaluator::eval_call(const Expr& e, Scope& scope, const Value* caller) {
  const Expr& target = *e.kids[0];
  Value self;
  NativeFn direct = nullptr;
  Value callee;
  if (target.kind == ExprKind::kAttribute) {
    self = eval(*target.kids[0], scope);
    if (!self.undefined() && !mutating_method(self, target.name)) direct = find_method(self, target.name);
    if (!direct) callee = attribute(self, target.name, target.constant);
  } else {
    callee = eval(target, scope);
  }
  Args args = eval_args(*e.call, scope);
  if (caller) args.named.emplace_back("caller", *caller);
  line_ = e.line;
  heap_.charge(2);
  return direct ? direct(*this, self, args) : call(callee, args);
}

Value Evaluator::call(const Value& callee, const Args& args) {
  if (callee.undefined()) undefined_error(callee);
  if (callee.is(Kind::kCallable)) {
    if (callee.callable->native) return callee.callable->native(*this, callee.callable->self, args);
    return call_macro(*callee.callable, args);
  }
  if (callee.is(Kind::kCursor) && callee.cursor->joiner) return call_joiner(*this, *callee.cursor);
  if (callee.is(Kind::kLoop)) fail("the loop must be 'recursive' to be called");
  fail(std::string("'") + type_name(callee) + "' object is not callable");
}

Value Evaluator::call_macro(const Callable& callable, const Args& args) {
  if (calls_ >= max_calls_) exhausted("macros call one another too deeply");
  ++calls_;
  heap_.charge(4);
  Scope* inner = push_scope(callable.scope);
  bind_parameters(callable, args, *inner);
  TextBuilder text(heap_);
  exec_body(callable.macro->body, *inner, text);
  pop_scope(inner);
  --calls_;
  return text.finish();
}

void Evaluator::bind_parameters(const Callable& callable, const Args& args, Scope& scope) {
  const MacroDef& macro = *callable.macro;
  const std::size_t count = macro.parameters.size();
  const std::size_t first_default = count - macro.defaults.size();
  std::vector<bool> used(args.named.size());
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& name = macro.parameter_names[i];
    const auto named =
        std::find_if(args.named.begin(), args.named.end(), [&](const auto& a) { return a.first == name; });
    if (named != args.named.end()) used[static_cast<std::size_t>(named - args.named.begin())] = true;
    if (i < args.positional.size()) {
      if (named != args.named.end()) fail("macro '" + macro.name + "' got two values for '" + name + "'");
      scope.set(macro.parameters[i], args.positional[i]);
    } else if (named != args.named.end()) {
      scope.set(macro.parameters[i], named->second);
    } else if (i >= first_default) {
      scope.set(macro.parameters[i], eval(*macro.defaults[i - first_default], scope));
    } else {
      scope.set(macro.parameters[i], heap_.undefined("parameter '" + name + "' was not provided"));
    }
  }
  Dict* rest = macro.takes_kwargs ? heap_.dict() : nullptr;
  if (macro.takes_caller) scope.set(kNameCaller, heap_.undefined("No caller defined"));
  for (std::size_t i = 0; i < args.named.size(); ++i) {
    const auto& [name, value] = args.named[i];
    if (used[i]) continue;
    if (name == "caller" && macro.takes_caller) {
      scope.set(kNameCaller, value);
    } else if (rest) {
      rest->put(heap_, heap_.text(std::string(name)), value);
    } else {
      fail("macro '" + macro.name + "' takes no keyword argument '" + std::string(name) + "'");
    }
  }
  if (rest) scope.set(kNameKwargs, heap_.dict_value(rest));
  std::vector<Value> extra;
  if (args.positional.size() > count) {
    if (!macro.takes_varargs)
      fail("macro '" + macro.name + "' takes not more than " + std::to_string(count) + " arguments");
    extra.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(count), args.positional.end());
  }
  if (macro.takes_varargs) scope.set(kNameVarargs, heap_.list(std::move(extra), SeqKind::kTuple));
}

Value Evaluator::loop_attribute(Loop& loop, std::string_view name, const Value& missing) {
  const auto peek = [&] {
    if (!loop.have_after) loop.have_after = pull(loop, &loop.after);
    return loop.have_after;
  };
  if (name == "index") return int_value(loop.index0 + 1);
  if (name == "index0") return int_value(loop.index0);
  if (name == "first") return bool_value(loop.index0 == 0);
  if (name == "last") return bool_value(!peek());
  if (name == "length") return int_value(loop_length(loop));
  if (name == "revindex") return int_value(loop_length(loop) - loop.index0);
  if (name == "revindex0") return int_value(loop_length(loop) - loop.index0 - 1);
  if (name == "depth") return int_value(1);
  if (name == "depth0") return int_value(0);
  if (name == "previtem") return loop.index0 == 0 ? heap_.undefined("there is no previous item") : loop.before;
  if (name == "nextitem") return peek() ? loop.after : heap_.undefined("there is no next item");
  if (name != "cycle" && name != "changed") return missing;
  Callable callable;
  callable.name = name;
  callable.native = name == "cycle" ? loop_cycle : loop_changed;
  callable.self.kind = Kind::kLoop;
  callable.self.loop = &loop;
  return heap_.callable(std::move(callable));
}

}  // namespace foregate::jinja
