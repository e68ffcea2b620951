// Recursive-descent parser from tokens to the syntax tree. Nesting is bounded, so no input can
// overflow the stack; unknown tags, filters and tests are refused by name and line (inside a condition, when reached).
// Used once, by compile_chat_template; one thread.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_lexer.h"

namespace foregate::jinja {

constexpr int kMaxNesting = 200;          // parentheses, blocks and unary operators inside one another
constexpr int kMaxExpressionDepth = 400;  // operators in one chain

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens);
  Tree parse();  // throws Error

 private:
  class Nest;

  // jinja_parse_stmt.cpp
  Body body_until(std::initializer_list<std::string_view> ends);
  Body block_body(std::initializer_list<std::string_view> ends);
  StmtPtr statement();
  StmtPtr if_statement();
  StmtPtr for_statement();
  StmtPtr set_statement();
  StmtPtr macro_statement();
  StmtPtr call_statement();
  StmtPtr filter_statement();
  StmtPtr with_statement();
  StmtPtr generation_statement();
  StmtPtr loop_control(StmtKind kind);
  StmtPtr print_statement();
  void signature(MacroDef& macro);
  void macro_body(MacroDef& macro, std::string_view end);
  Target target(bool namespaces, bool tuples);
  Target single_target(bool namespaces);
  [[noreturn]] void unknown_tag(const Token& token);

  // jinja_parse_expr.cpp
  ExprPtr expression();  // with inline if
  ExprPtr or_expr();
  ExprPtr and_expr();
  ExprPtr not_expr();
  ExprPtr compare();
  ExprPtr sum();
  ExprPtr concat();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filter);
  ExprPtr primary();
  ExprPtr tuple(bool inline_if, bool in_parentheses, std::string_view end_name = {});
  ExprPtr list_literal();
  ExprPtr dict_literal();
  ExprPtr number_literal();
  ExprPtr postfix(ExprPtr node);
  ExprPtr filter_chain(ExprPtr node);
  ExprPtr subscript(ExprPtr node);
  ExprPtr slice_or_item(ExprPtr node);
  ExprPtr call(ExprPtr node);
  ExprPtr filter(ExprPtr node);
  ExprPtr test(ExprPtr node);
  std::unique_ptr<CallArgs> call_args(int* depth);
  std::string dotted_name();
  bool tuple_ends(std::string_view end_name) const;
  bool test_argument_follows() const;
  ExprPtr make(ExprKind kind, int line, std::vector<ExprPtr> kids = {});
  ExprPtr binary(Op op, ExprPtr left, ExprPtr right);
  ExprPtr string_constant(std::string text, int line);
  ExprPtr name_expr(const Token& token);
  Value undefined_constant(const std::string& name);
  void check_depth(Expr& node);

  // tokens
  const Token& peek(std::size_t ahead = 0) const;
  const Token& next();
  bool at_op(std::string_view op) const;
  bool at_name(std::string_view name, std::size_t ahead = 0) const;
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  void expect_block_end();
  std::string expect_name();
  [[noreturn]] void unexpected(const char* wanted) const;
  int intern(const std::string& name);
  int use_name(const std::string& name);

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;
  int conditions_ = 0;  // inside {% if %}: unknown filters fail only when reached
  std::unordered_map<std::string, int> name_ids_;
  std::vector<MacroDef*> macros_;  // being parsed, innermost last
  Tree tree_;
};

// Counts one level of nesting for the life of the object.
class Parser::Nest {
 public:
  explicit Nest(Parser& parser);
  ~Nest() { --parser_.nesting_; }
  Nest(const Nest&) = delete;
  Nest& operator=(const Nest&) = delete;

 private:
  Parser& parser_;
};

}  // namespace foregate::jinja
