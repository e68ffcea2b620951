#include "engine/text/jinja_parser.h"

#include <algorithm>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {

Parser::Nest::Nest(Parser& parser) : parser_(parser) {
  if (++parser.nesting_ > kMaxNesting) {
    --parser.nesting_;  // the destructor does not run for a half-made object
    throw Error{resource_exhausted("chat template line " + std::to_string(parser.peek().line) +
                                   ": nested deeper than " + std::to_string(kMaxNesting) + " levels"),
                true};
  }
}

Parser::Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  for (const char* name : {"loop", "caller", "varargs", "kwargs"}) intern(name);
}

Tree Parser::parse() {
  tree_.body = body_until({});
  return std::move(tree_);
}

const Token& Parser::peek(std::size_t ahead) const {
  return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
}

const Token& Parser::next() {
  const Token& token = peek();
  if (at_ + 1 < tokens_.size()) ++at_;
  return token;
}

bool Parser::at_op(std::string_view op) const {
  return peek().type == Tok::kOperator && peek().text == op;
}
bool Parser::at_name(std::string_view name, std::size_t ahead) const {
  return peek(ahead).type == Tok::kName && peek(ahead).text == name;
}
bool Parser::skip_op(std::string_view op) {
  if (!at_op(op)) return false;
  next();
  return true;
}
bool Parser::skip_name(std::string_view name) {
  if (!at_name(name)) return false;
  next();
  return true;
}
void Parser::expect_op(std::string_view op) {
  if (!skip_op(op)) unexpected(std::string(op).c_str());
}
void Parser::expect_block_end() {
  if (peek().type != Tok::kBlockEnd) unexpected("end of the tag");
  next();
}
std::string Parser::expect_name() {
  if (peek().type != Tok::kName) unexpected("a name");
  return next().text;
}

void Parser::unexpected(const char* wanted) const {
  const Token& token = peek();
  std::string seen = token.text.substr(0, 40);
  switch (token.type) {
    case Tok::kBlockEnd: seen = "end of tag"; break;
    case Tok::kVariableEnd: seen = "end of expression"; break;
    case Tok::kEnd: seen = "end of template"; break;
    default: seen = "'" + seen + "'"; break;
  }
  fail_at(token.line, "expected " + std::string(wanted) + ", found " + seen);
}

int Parser::intern(const std::string& name) {
  const auto [it, added] = name_ids_.emplace(name, static_cast<int>(tree_.names.size()));
  if (added) tree_.names.push_back(name);
  return it->second;
}

int Parser::use_name(const std::string& name) {
  const int id = intern(name);
  for (MacroDef* macro : macros_) {
    macro->takes_varargs |= id == kNameVarargs;
    macro->takes_kwargs |= id == kNameKwargs;
    macro->takes_caller |= id == kNameCaller;
  }
  return id;
}

void Parser::check_depth(Expr& node) {
  for (const ExprPtr& kid : node.kids) {
    if (kid) node.depth = std::max(node.depth, kid->depth + 1);
  }
  if (node.depth > kMaxExpressionDepth) {
    throw Error{resource_exhausted("chat template line " + std::to_string(node.line) + ": expression deeper than " +
                                   std::to_string(kMaxExpressionDepth) + " operators"),
                true};
  }
}

ExprPtr Parser::make(ExprKind kind, int line, std::vector<ExprPtr> kids) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  node->kids = std::move(kids);
  check_depth(*node);
  return node;
}

ExprPtr Parser::binary(Op op, ExprPtr left, ExprPtr right) {
  const int line = left->line;
  std::vector<ExprPtr> kids;
  kids.push_back(std::move(left));
  if (right) kids.push_back(std::move(right));
  const ExprKind kind = kids.size() == 1 ? ExprKind::kUnary : ExprKind::kBinary;
  ExprPtr node = make(kind, line, std::move(kids));
  node->op = op;
  return node;
}

ExprPtr Parser::string_constant(std::string text, int line) {
  Str& str = tree_.texts.emplace_back();
  str.bytes = std::move(text);
  length(str);  // counted now: constants are shared between threads
  ExprPtr node = make(ExprKind::kConst, line);
  node->constant = str_value(&str);
  return node;
}

Value Parser::undefined_constant(const std::string& name) {
  Str& str = tree_.texts.emplace_back();
  str.bytes = "'" + name + "' is undefined";
  Value value;
  value.str = &str;
  return value;
}

ExprPtr Parser::name_expr(const Token& token) {
  ExprPtr node = make(ExprKind::kName, token.line);
  node->name = token.text;
  node->name_id = use_name(token.text);
  node->constant = undefined_constant(token.text);
  return node;
}

}  // namespace foregate::jinja
