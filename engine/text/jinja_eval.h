// Runs a compiled template over one set of variables. Recursion, calls, operations and text are all
// counted, so a hostile template ends with an Error instead of an overflow. One render, one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_heap.h"

namespace foregate::jinja {

// Names bound in one block; `captured` scopes are kept because a macro may still look into them.
struct Scope {
  Scope* parent = nullptr;
  bool captured = false;
  std::vector<std::pair<int, Value>> names;
  void set(int id, const Value& value);
};

// The state of one running {% for %}, seen by templates as `loop`.
struct Loop {
  const Stmt* stmt = nullptr;
  Scope* scope = nullptr;  // the scope around the loop, for its filter
  Seq* items = nullptr;
  std::size_t next = 0;
  std::int64_t index0 = -1;
  std::int64_t drained_length = -1;  // known once asked for
  bool have_after = false;
  Value before, current, after;
  bool has_changed = false;
  std::vector<Value> changed;  // what loop.changed() saw last
};

class Evaluator {
 public:
  Evaluator(const Tree& tree, Heap& heap, int call_depth, std::int64_t now_unix_seconds);

  void set_variable(std::string_view name, const Value& value);
  Str run();
  int line() const { return line_; }  // of what ran last

  // For the library's functions.
  Heap& heap() { return heap_; }
  std::int64_t now_unix_seconds() const { return now_; }
  Value attribute(const Value& object, std::string_view name, const Value& missing);
  Value item(const Value& object, const Value& key, const Value& missing);
  Value call(const Value& callee, const Args& args);
  // Python's iter(): a sequence to walk. Generators give what they have left and are then spent.
  Seq* iterate(const Value& value);

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Depth;

  // jinja_eval_stmt.cpp
  Flow exec_body(const Body& body, Scope& scope, TextBuilder& out);
  Flow exec(const Stmt& stmt, Scope& scope, TextBuilder& out);
  Flow exec_if(const Stmt& stmt, Scope& scope, TextBuilder& out);
  Flow exec_for(const Stmt& stmt, Scope& scope, TextBuilder& out);
  Flow exec_with(const Stmt& stmt, Scope& scope, TextBuilder& out);
  void exec_call_block(const Stmt& stmt, Scope& scope, TextBuilder& out);
  Value render_body(const Body& body, Scope& scope);
  void assign(const Target& target, const Value& value, Scope& scope);
  bool pull(Loop& loop, Value* item);
  bool advance(Loop& loop);
  void drain(Loop& loop);
  std::int64_t loop_length(Loop& loop);
  Scope* push_scope(Scope* parent);
  void pop_scope(Scope* scope);

  // jinja_eval_expr.cpp
  Value eval(const Expr& e, Scope& scope);
  Value eval_name(const Expr& e, Scope& scope);
  Value eval_binary(const Expr& e, Scope& scope);
  Value eval_compare(const Expr& e, Scope& scope);
  Value eval_concat(const Expr& e, Scope& scope);
  Value eval_slice(const Expr& e, Scope& scope);
  Value eval_list(const Expr& e, Scope& scope);
  Value eval_dict(const Expr& e, Scope& scope);
  Value eval_filter(const Expr& e, Scope& scope, const Value* block);
  bool eval_test(const Expr& e, Scope& scope);

  // jinja_eval_call.cpp
  Value eval_call(const Expr& e, Scope& scope, const Value* caller);
  Args eval_args(const CallArgs& call, Scope& scope);
  Value call_macro(const Callable& callable, const Args& args);
  void bind_parameters(const Callable& callable, const Args& args, Scope& scope);
  Value loop_attribute(Loop& loop, std::string_view name, const Value& missing);
  Value macro_value(const MacroDef& macro, Scope& scope);

  const Tree& tree_;
  Heap& heap_;
  std::int64_t now_;
  int line_ = 1;
  int depth_ = 0;
  int calls_ = 0;
  int max_calls_;
  std::deque<Scope> scopes_;
  std::vector<Scope*> free_scopes_;
  std::deque<Loop> loops_;
  Scope* root_;  // made by push_scope: after the members it uses
};

}  // namespace foregate::jinja
