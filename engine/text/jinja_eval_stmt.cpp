#include <algorithm>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_eval_depth.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_text.h"

namespace foregate::jinja {

void Scope::set(int id, const Value& value) {
  for (auto& [name, old] : names) {
    if (name == id) {
      old = value;
      return;
    }
  }
  names.emplace_back(id, value);
}

Evaluator::Evaluator(const Tree& tree, Heap& heap, int call_depth, std::int64_t now_unix_seconds)
    : tree_(tree), heap_(heap), now_(now_unix_seconds), max_calls_(call_depth), root_(push_scope(nullptr)) {
  root_->captured = true;
}

void Evaluator::set_variable(std::string_view name, const Value& value) {
  for (std::size_t id = 0; id < tree_.names.size(); ++id) {
    if (tree_.names[id] == name) root_->set(static_cast<int>(id), value);
  }
}

Str Evaluator::run() {
  TextBuilder out(heap_);
  exec_body(tree_.body, *root_, out);
  return out.take();
}

Scope* Evaluator::push_scope(Scope* parent) {
  Scope* scope = nullptr;
  if (free_scopes_.empty()) {
    heap_.charge(2);
    scope = &scopes_.emplace_back();
  } else {
    scope = free_scopes_.back();
    free_scopes_.pop_back();
  }
  scope->parent = parent;
  return scope;
}

void Evaluator::pop_scope(Scope* scope) {
  if (scope->captured) return;
  scope->names.clear();
  free_scopes_.push_back(scope);
}

Evaluator::Flow Evaluator::exec_body(const Body& body, Scope& scope, TextBuilder& out) {
  for (const StmtPtr& stmt : body) {
    const Flow flow = exec(*stmt, scope, out);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::exec(const Stmt& stmt, Scope& scope, TextBuilder& out) {
  const Depth depth(*this);
  heap_.charge(1);
  line_ = stmt.line;
  switch (stmt.kind) {
    case StmtKind::kData: out.add(stmt.data); break;
    case StmtKind::kPrint:
      for (const ExprPtr& e : stmt.exprs) append_str(heap_, out, eval(*e, scope));
      break;
    case StmtKind::kIf: return exec_if(stmt, scope, out);
    case StmtKind::kFor: return exec_for(stmt, scope, out);
    case StmtKind::kSet: assign(stmt.targets[0], eval(*stmt.exprs[0], scope), scope); break;
    case StmtKind::kSetBlock: {
      const Value text = render_body(stmt.bodies[0], scope);
      assign(stmt.targets[0], stmt.exprs.empty() ? text : eval_filter(*stmt.exprs[0], scope, &text), scope);
      break;
    }
    case StmtKind::kMacro: scope.set(stmt.macro->name_id, macro_value(*stmt.macro, scope)); break;
    case StmtKind::kCallBlock: exec_call_block(stmt, scope, out); break;
    case StmtKind::kFilterBlock: {
      const Value text = render_body(stmt.bodies[0], scope);
      append_str(heap_, out, eval_filter(*stmt.exprs[0], scope, &text));
      break;
    }
    case StmtKind::kWith: return exec_with(stmt, scope, out);
    case StmtKind::kScope: append_str(heap_, out, render_body(stmt.bodies[0], scope)); break;
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

Evaluator::Flow Evaluator::exec_if(const Stmt& stmt, Scope& scope, TextBuilder& out) {
  for (std::size_t i = 0; i < stmt.exprs.size(); ++i) {
    if (truthy(eval(*stmt.exprs[i], scope))) return exec_body(stmt.bodies[i], scope, out);
  }
  return exec_body(stmt.bodies.back(), scope, out);
}

Evaluator::Flow Evaluator::exec_with(const Stmt& stmt, Scope& scope, TextBuilder& out) {
  Scope* inner = push_scope(&scope);
  std::vector<Value> values;
  for (const ExprPtr& e : stmt.exprs) values.push_back(eval(*e, scope));
  for (std::size_t i = 0; i < values.size(); ++i) assign(stmt.targets[i], values[i], *inner);
  const Flow flow = exec_body(stmt.bodies[0], *inner, out);
  pop_scope(inner);
  return flow;
}

void Evaluator::exec_call_block(const Stmt& stmt, Scope& scope, TextBuilder& out) {
  const Value caller = macro_value(*stmt.macro, scope);
  append_str(heap_, out, eval_call(*stmt.exprs[0], scope, &caller));
}

// A block rendered to a value of its own, in a scope of its own.
Value Evaluator::render_body(const Body& body, Scope& scope) {
  Scope* inner = push_scope(&scope);
  TextBuilder text(heap_);
  exec_body(body, *inner, text);
  pop_scope(inner);
  return text.finish();
}

// A macro may run long after its block has ended, so every scope it sees is kept.
Value Evaluator::macro_value(const MacroDef& macro, Scope& scope) {
  for (Scope* s = &scope; s && !s->captured; s = s->parent) s->captured = true;
  Callable callable;
  callable.name = macro.name;
  callable.macro = &macro;
  callable.scope = &scope;
  return heap_.callable(std::move(callable));
}

void Evaluator::assign(const Target& target, const Value& value, Scope& scope) {
  if (!target.parts.empty()) {
    const Seq& items = *iterate(value);
    if (items.items.size() != target.parts.size()) {
      fail("cannot unpack " + std::to_string(items.items.size()) + " values into " +
           std::to_string(target.parts.size()) + " names");
    }
    for (std::size_t i = 0; i < items.items.size(); ++i) assign(target.parts[i], items.items[i], scope);
    return;
  }
  if (target.attribute.empty()) {
    scope.set(target.name_id, value);
    return;
  }
  const Value* object = nullptr;
  for (const Scope* s = &scope; s && !object; s = s->parent) {
    for (const auto& [id, v] : s->names) {
      if (id == target.name_id) object = &v;
    }
  }
  if (!object || !object->is(Kind::kNamespace)) fail("cannot assign attribute on non-namespace object");
  if (target.attribute[0] == '_') fail("a namespace cannot hold '" + target.attribute + "'");
  heap_.charge(1 + object->ns->attributes.size() / 8);
  object->ns->put(target.attribute, value);
}

// Next item the loop's filter lets through; false at the end.
bool Evaluator::pull(Loop& loop, Value* item) {
  const Expr* filter = loop.stmt ? loop.stmt->exprs[1].get() : nullptr;
  while (loop.next < loop.items->items.size()) {
    heap_.charge(1);
    *item = loop.items->items[loop.next++];
    if (!filter) return true;
    Scope* inner = push_scope(loop.scope);
    assign(loop.stmt->targets[0], *item, *inner);
    const bool passes = truthy(eval(*filter, *inner));
    pop_scope(inner);
    if (passes) return true;
  }
  return false;
}

bool Evaluator::advance(Loop& loop) {
  Value item;
  if (loop.have_after) {
    item = loop.after;
    loop.have_after = false;
  } else if (!pull(loop, &item)) {
    return false;
  }
  ++loop.index0;
  loop.before = loop.current;
  loop.current = item;
  return true;
}

// Filters all that is left at once, as len() of a filtered loop has to.
void Evaluator::drain(Loop& loop) {
  if (!loop.stmt || !loop.stmt->exprs[1]) return;
  std::vector<Value> rest;
  Value item;
  while (pull(loop, &item)) rest.push_back(item);
  loop.drained_length = static_cast<std::int64_t>(rest.size()) + loop.index0 + 1 + loop.have_after;
  loop.items = heap_.list(std::move(rest)).seq;
  loop.next = 0;
  loop.stmt = nullptr;
}

std::int64_t Evaluator::loop_length(Loop& loop) {
  if (loop.drained_length < 0) {
    loop.drained_length = static_cast<std::int64_t>(loop.items->items.size());
    drain(loop);
  }
  return loop.drained_length;
}

Evaluator::Flow Evaluator::exec_for(const Stmt& stmt, Scope& scope, TextBuilder& out) {
  const Value iterable = eval(*stmt.exprs[0], scope);
  heap_.charge(4);
  Loop& loop = loops_.emplace_back();
  loop.stmt = &stmt;
  loop.scope = &scope;
  loop.items = iterate(iterable);
  Value self;
  self.kind = Kind::kLoop;
  self.loop = &loop;
  while (advance(loop)) {
    heap_.charge(1);
    Scope* inner = push_scope(&scope);
    assign(stmt.targets[0], loop.current, *inner);
    inner->set(kNameLoop, self);
    const Flow flow = exec_body(stmt.bodies[0], *inner, out);
    pop_scope(inner);
    if (flow == Flow::kBreak) break;
  }
  return loop.index0 < 0 ? exec_body(stmt.bodies[1], scope, out) : Flow::kNext;
}

}  // namespace foregate::jinja
