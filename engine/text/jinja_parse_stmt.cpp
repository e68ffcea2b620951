#include <algorithm>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_parser.h"

namespace foregate::jinja {
namespace {

StmtPtr make_stmt(StmtKind kind, int line) {
  auto stmt = std::make_unique<Stmt>();
  stmt->kind = kind;
  stmt->line = line;
  return stmt;
}

bool reserved(const std::string& name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" || name == "None";
}

}  // namespace

// Statements up to a tag named in `ends`; that tag's name is the current token then.
Body Parser::body_until(std::initializer_list<std::string_view> ends) {
  const Nest nest(*this);
  Body body;
  while (peek().type != Tok::kEnd) {
    const Token& token = next();
    if (token.type == Tok::kData) {
      StmtPtr stmt = make_stmt(StmtKind::kData, token.line);
      stmt->data = token.text;
      body.push_back(std::move(stmt));
    } else if (token.type == Tok::kVariableBegin) {
      StmtPtr stmt = make_stmt(StmtKind::kPrint, token.line);
      stmt->exprs.push_back(tuple(true, false));
      if (peek().type != Tok::kVariableEnd) unexpected("end of the expression");
      next();
      body.push_back(std::move(stmt));
    } else {
      const Token& tag = peek();
      if (tag.type == Tok::kName && std::find(ends.begin(), ends.end(), tag.text) != ends.end()) return body;
      body.push_back(statement());
      expect_block_end();
    }
  }
  if (ends.size() > 0) {
    fail_at(peek().line, "unexpected end of template, '" + std::string(*(ends.end() - 1)) + "' is missing");
  }
  return body;
}

// The rest of an opening tag, then its body.
Body Parser::block_body(std::initializer_list<std::string_view> ends) {
  skip_op(":");
  expect_block_end();
  return body_until(ends);
}

StmtPtr Parser::statement() {
  const Token& token = peek();
  if (token.type != Tok::kName) unexpected("a tag name");
  const std::string& name = token.text;
  if (name == "if") return if_statement();
  if (name == "for") return for_statement();
  if (name == "set") return set_statement();
  if (name == "macro") return macro_statement();
  if (name == "call") return call_statement();
  if (name == "filter") return filter_statement();
  if (name == "with") return with_statement();
  if (name == "generation") return generation_statement();
  if (name == "break") return loop_control(StmtKind::kBreak);
  if (name == "continue") return loop_control(StmtKind::kContinue);
  if (name == "print") return print_statement();
  unknown_tag(token);
}

void Parser::unknown_tag(const Token& token) {
  const std::string name = token.text.substr(0, 60);
  if (name.rfind("end", 0) == 0 || name == "else" || name == "elif") {
    fail_at(token.line, "tag '" + name + "' does not belong here");
  }
  refuse_at(token.line, "tag '" + name + "' is not supported");
}

StmtPtr Parser::if_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kIf, next().line);
  ++conditions_;
  while (true) {
    stmt->exprs.push_back(tuple(false, false));
    stmt->bodies.push_back(block_body({"elif", "else", "endif"}));
    const std::string end = next().text;
    if (end == "elif") continue;
    if (end == "else") {
      stmt->bodies.push_back(block_body({"endif"}));
      next();
    } else {
      stmt->bodies.emplace_back();
    }
    --conditions_;
    return stmt;
  }
}

StmtPtr Parser::for_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kFor, next().line);
  stmt->targets.push_back(target(false, true));
  if (!skip_name("in")) unexpected("'in'");
  stmt->exprs.push_back(tuple(false, false, "recursive"));
  stmt->exprs.push_back(skip_name("if") ? expression() : nullptr);
  if (at_name("recursive")) refuse_at(stmt->line, "'recursive' loops are not supported");
  ++loops_;
  stmt->bodies.push_back(block_body({"endfor", "else"}));
  --loops_;
  stmt->bodies.emplace_back();
  if (next().text == "else") {
    stmt->bodies[1] = block_body({"endfor"});
    next();
  }
  return stmt;
}

Target Parser::single_target(bool namespaces) {
  Target result;
  const std::string name = expect_name();
  if (reserved(name)) fail_at(peek().line, "cannot assign to '" + name + "'");
  result.name_id = intern(name);
  if (namespaces && skip_op(".")) result.attribute = expect_name();
  return result;
}

Target Parser::target(bool namespaces, bool tuples) {
  const Nest nest(*this);
  const bool parentheses = tuples && skip_op("(");
  Target first = parentheses ? target(namespaces, true) : single_target(namespaces);
  Target result;
  if (!tuples) return first;
  if (parentheses) {
    expect_op(")");
    if (!at_op(",")) return first;
  }
  if (!at_op(",")) return first;
  result.parts.push_back(std::move(first));
  while (skip_op(",")) {
    if (skip_op("(")) {
      result.parts.push_back(target(namespaces, true));
      expect_op(")");
    } else {
      result.parts.push_back(single_target(namespaces));
    }
  }
  return result;
}

StmtPtr Parser::set_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kSet, next().line);
  stmt->targets.push_back(target(true, true));
  if (skip_op("=")) {
    stmt->exprs.push_back(tuple(true, false));
    return stmt;
  }
  stmt->kind = StmtKind::kSetBlock;
  if (!stmt->targets[0].parts.empty()) fail_at(stmt->line, "a block cannot be assigned to several names");
  ExprPtr chain;
  while (skip_op("|")) chain = filter(std::move(chain));
  if (chain) stmt->exprs.push_back(std::move(chain));
  stmt->bodies.push_back(block_body({"endset"}));
  next();
  return stmt;
}

void Parser::signature(MacroDef& macro) {
  expect_op("(");
  while (!at_op(")")) {
    if (!macro.parameters.empty()) expect_op(",");
    const std::string name = expect_name();
    if (reserved(name)) fail_at(macro.line, "cannot assign to '" + name + "'");
    macro.parameters.push_back(intern(name));
    macro.parameter_names.push_back(name);
    if (skip_op("=")) {
      macro.defaults.push_back(expression());
    } else if (!macro.defaults.empty()) {
      fail_at(macro.line, "parameter '" + name + "' without default follows one with default");
    }
  }
  expect_op(")");
}

void Parser::macro_body(MacroDef& macro, std::string_view end) {
  const int outer_loops = loops_;
  loops_ = 0;
  macros_.push_back(&macro);
  macro.body = block_body({end});
  next();
  macros_.pop_back();
  loops_ = outer_loops;
  // A parameter of one of these names is an ordinary parameter.
  for (const int id : macro.parameters) {
    if (id == kNameVarargs) macro.takes_varargs = false;
    if (id == kNameKwargs) macro.takes_kwargs = false;
    if (id == kNameCaller) macro.takes_caller = false;
  }
}

StmtPtr Parser::macro_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kMacro, next().line);
  stmt->macro = std::make_unique<MacroDef>();
  stmt->macro->line = stmt->line;
  stmt->macro->name = expect_name();
  if (reserved(stmt->macro->name)) fail_at(stmt->line, "cannot assign to '" + stmt->macro->name + "'");
  stmt->macro->name_id = intern(stmt->macro->name);
  signature(*stmt->macro);
  macro_body(*stmt->macro, "endmacro");
  return stmt;
}

StmtPtr Parser::call_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kCallBlock, next().line);
  stmt->macro = std::make_unique<MacroDef>();
  stmt->macro->line = stmt->line;
  stmt->macro->name = "caller";
  if (at_op("(")) signature(*stmt->macro);
  stmt->exprs.push_back(expression());
  if (stmt->exprs[0]->kind != ExprKind::kCall) fail_at(stmt->line, "'call' needs a call");
  macro_body(*stmt->macro, "endcall");
  return stmt;
}

StmtPtr Parser::filter_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kFilterBlock, next().line);
  ExprPtr chain = filter(nullptr);
  while (skip_op("|")) chain = filter(std::move(chain));
  stmt->exprs.push_back(std::move(chain));
  stmt->bodies.push_back(block_body({"endfilter"}));
  next();
  return stmt;
}

StmtPtr Parser::with_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kWith, next().line);
  while (peek().type != Tok::kBlockEnd) {
    if (!stmt->targets.empty()) expect_op(",");
    stmt->targets.push_back(target(false, false));
    expect_op("=");
    stmt->exprs.push_back(expression());
  }
  stmt->bodies.push_back(block_body({"endwith"}));
  next();
  return stmt;
}

StmtPtr Parser::generation_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kScope, next().line);
  const int outer_loops = loops_;
  loops_ = 0;
  stmt->bodies.push_back(block_body({"endgeneration"}));
  next();
  loops_ = outer_loops;
  return stmt;
}

StmtPtr Parser::loop_control(StmtKind kind) {
  const Token& token = next();
  if (loops_ == 0) fail_at(token.line, "'" + token.text + "' outside of a loop");
  return make_stmt(kind, token.line);
}

StmtPtr Parser::print_statement() {
  StmtPtr stmt = make_stmt(StmtKind::kPrint, next().line);
  while (peek().type != Tok::kBlockEnd) {
    if (!stmt->exprs.empty()) expect_op(",");
    stmt->exprs.push_back(expression());
  }
  return stmt;
}

}  // namespace foregate::jinja
