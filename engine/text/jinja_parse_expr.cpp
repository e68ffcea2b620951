#include <charconv>
#include <cstdlib>

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_parser.h"

namespace foregate::jinja {
namespace {

// Operator of a comparison token, or false.
bool compare_op(const Token& token, Op* op) {
  static constexpr std::pair<std::string_view, Op> kOps[] = {{"==", Op::kEq}, {"!=", Op::kNe}, {"<", Op::kLt},
                                                             {"<=", Op::kLe}, {">", Op::kGt},  {">=", Op::kGe}};
  for (const auto& [text, value] : kOps) {
    if (token.type == Tok::kOperator && token.text == text) {
      *op = value;
      return true;
    }
  }
  return false;
}

}  // namespace

ExprPtr Parser::expression() {
  const Nest nest(*this);
  ExprPtr value = or_expr();
  while (skip_name("if")) {
    const int line = value->line;
    std::vector<ExprPtr> kids;
    kids.push_back(std::move(value));
    kids.push_back(or_expr());
    kids.push_back(skip_name("else") ? expression() : nullptr);
    value = make(ExprKind::kConditional, line, std::move(kids));
  }
  return value;
}

ExprPtr Parser::or_expr() {
  ExprPtr left = and_expr();
  while (skip_name("or")) left = binary(Op::kOr, std::move(left), and_expr());
  return left;
}

ExprPtr Parser::and_expr() {
  ExprPtr left = not_expr();
  while (skip_name("and")) left = binary(Op::kAnd, std::move(left), not_expr());
  return left;
}

ExprPtr Parser::not_expr() {
  if (!at_name("not")) return compare();
  const Nest nest(*this);
  next();
  return binary(Op::kNot, not_expr(), nullptr);
}

ExprPtr Parser::compare() {
  std::vector<ExprPtr> kids;
  std::vector<Op> ops;
  kids.push_back(sum());
  const int line = kids[0]->line;
  while (true) {
    Op op = Op::kEq;
    if (compare_op(peek(), &op)) {
      next();
    } else if (skip_name("in")) {
      op = Op::kIn;
    } else if (at_name("not") && at_name("in", 1)) {
      next();
      next();
      op = Op::kNotIn;
    } else {
      break;
    }
    ops.push_back(op);
    kids.push_back(sum());
  }
  if (ops.empty()) return std::move(kids[0]);
  ExprPtr node = make(ExprKind::kCompare, line, std::move(kids));
  node->ops = std::move(ops);
  return node;
}

ExprPtr Parser::sum() {
  ExprPtr left = concat();
  while (at_op("+") || at_op("-")) {
    const Op op = next().text == "+" ? Op::kAdd : Op::kSub;
    left = binary(op, std::move(left), concat());
  }
  return left;
}

ExprPtr Parser::concat() {
  std::vector<ExprPtr> kids;
  kids.push_back(product());
  while (skip_op("~")) kids.push_back(product());
  if (kids.size() == 1) return std::move(kids[0]);
  const int line = kids[0]->line;
  return make(ExprKind::kConcat, line, std::move(kids));
}

ExprPtr Parser::product() {
  ExprPtr left = power();
  while (at_op("*") || at_op("/") || at_op("//") || at_op("%")) {
    const std::string& text = next().text;
    const Op op = text == "*" ? Op::kMul : text == "/" ? Op::kDiv : text == "//" ? Op::kFloorDiv : Op::kMod;
    left = binary(op, std::move(left), power());
  }
  return left;
}

ExprPtr Parser::power() {
  ExprPtr left = unary(true);
  while (skip_op("**")) left = binary(Op::kPow, std::move(left), unary(true));
  return left;
}

ExprPtr Parser::unary(bool with_filter) {
  const Nest nest(*this);
  ExprPtr node;
  if (at_op("-") || at_op("+")) {
    const Op op = next().text == "-" ? Op::kNegate : Op::kPlus;
    node = binary(op, unary(false), nullptr);
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filter ? filter_chain(std::move(node)) : std::move(node);
}

ExprPtr Parser::primary() {
  const Token& token = peek();
  const int line = token.line;
  if (token.type == Tok::kName) {
    next();
    const std::string& t = token.text;
    const bool truth = t == "true" || t == "True";
    if (!truth && t != "false" && t != "False" && t != "none" && t != "None") return name_expr(token);
    ExprPtr node = make(ExprKind::kConst, line);
    node->constant = t == "none" || t == "None" ? none_value() : bool_value(truth);
    return node;
  }
  if (token.type == Tok::kString) {
    std::string text = next().text;
    while (peek().type == Tok::kString) text += next().text;
    return string_constant(std::move(text), line);
  }
  if (token.type == Tok::kInteger || token.type == Tok::kFloat) return number_literal();
  if (skip_op("(")) {
    ExprPtr node = tuple(true, true);
    expect_op(")");
    return node;
  }
  if (at_op("[")) return list_literal();
  if (at_op("{")) return dict_literal();
  unexpected("an expression");
}

ExprPtr Parser::number_literal() {
  const Token& token = next();
  ExprPtr node = make(ExprKind::kConst, token.line);
  if (token.type == Tok::kFloat) {
    node->constant = float_value(std::strtod(token.text.c_str(), nullptr));
    return node;
  }
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 1 && digits[0] == '0' && digits[1] > '9') {
    const char radix = static_cast<char>(digits[1] | 0x20);
    base = radix == 'x' ? 16 : radix == 'o' ? 8 : 2;
    digits.remove_prefix(2);
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    refuse_at(token.line, "integer literal '" + token.text.substr(0, 40) + "' is out of range or malformed");
  }
  node->constant = int_value(value);
  return node;
}

bool Parser::tuple_ends(std::string_view end_name) const {
  const Tok type = peek().type;
  return type == Tok::kVariableEnd || type == Tok::kBlockEnd || at_op(")") || (!end_name.empty() && at_name(end_name));
}

ExprPtr Parser::tuple(bool inline_if, bool in_parentheses, std::string_view end_name) {
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  const int line = peek().line;
  while (true) {
    if (!items.empty()) expect_op(",");
    if (tuple_ends(end_name)) break;
    items.push_back(inline_if ? expression() : or_expr());
    if (!at_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items[0]);
  if (!is_tuple && !in_parentheses) unexpected("an expression");
  return make(ExprKind::kTuple, line, std::move(items));
}

ExprPtr Parser::list_literal() {
  const int line = next().line;
  std::vector<ExprPtr> items;
  while (!at_op("]")) {
    if (!items.empty()) expect_op(",");
    if (at_op("]")) break;
    items.push_back(expression());
  }
  expect_op("]");
  return make(ExprKind::kList, line, std::move(items));
}

ExprPtr Parser::dict_literal() {
  const int line = next().line;
  std::vector<ExprPtr> items;
  while (!at_op("}")) {
    if (!items.empty()) expect_op(",");
    if (at_op("}")) break;
    items.push_back(expression());
    expect_op(":");
    items.push_back(expression());
  }
  expect_op("}");
  return make(ExprKind::kDict, line, std::move(items));
}

ExprPtr Parser::postfix(ExprPtr node) {
  while (true) {
    if (at_op(".") || at_op("[")) {
      node = subscript(std::move(node));
    } else if (at_op("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::filter_chain(ExprPtr node) {
  while (true) {
    if (skip_op("|")) {
      node = filter(std::move(node));
    } else if (at_name("is")) {
      node = test(std::move(node));
    } else if (at_op("(")) {
      node = call(std::move(node));
    } else {
      return node;
    }
  }
}

ExprPtr Parser::subscript(ExprPtr node) {
  const int line = node->line;
  std::vector<ExprPtr> kids;
  if (skip_op("[")) return slice_or_item(std::move(node));
  next();
  const Token& token = peek();
  kids.push_back(std::move(node));
  if (token.type == Tok::kInteger) {
    kids.push_back(number_literal());
    return make(ExprKind::kItem, line, std::move(kids));
  }
  std::string name = expect_name();
  ExprPtr result = make(ExprKind::kAttribute, line, std::move(kids));
  result->constant = undefined_constant(name);
  result->name = std::move(name);
  return result;
}

// After '[': an index, a tuple of indices, or one slice.
ExprPtr Parser::slice_or_item(ExprPtr node) {
  const int line = node->line;
  std::vector<ExprPtr> kids;
  kids.push_back(std::move(node));
  if (!at_op(":")) {
    kids.push_back(expression());
    if (at_op(",")) refuse_at(line, "subscript with several indices is not supported");
    if (skip_op("]")) {
      const Expr& key = *kids[1];
      const bool named = key.kind == ExprKind::kConst && key.constant.string();
      const Value missing = named ? undefined_constant(std::string(view(key.constant))) : Value();
      ExprPtr result = make(ExprKind::kItem, line, std::move(kids));
      result->constant = missing;
      return result;
    }
  } else {
    kids.push_back(nullptr);
  }
  expect_op(":");
  kids.push_back(at_op("]") || at_op(":") ? nullptr : expression());
  kids.push_back(skip_op(":") && !at_op("]") ? expression() : nullptr);
  expect_op("]");
  return make(ExprKind::kSlice, line, std::move(kids));
}

std::unique_ptr<CallArgs> Parser::call_args(int* depth) {
  auto args = std::make_unique<CallArgs>();
  const int line = peek().line;
  expect_op("(");
  bool first = true;
  const auto keep = [depth](ExprPtr value) {
    *depth = std::max(*depth, value->depth + 1);
    return value;
  };
  while (!at_op(")")) {
    if (!first) expect_op(",");
    if (at_op(")")) break;
    first = false;
    if (skip_op("*")) {
      if (args->rest || args->named_rest) fail_at(line, "invalid call arguments");
      args->rest = keep(expression());
    } else if (skip_op("**")) {
      if (args->named_rest) fail_at(line, "invalid call arguments");
      args->named_rest = keep(expression());
    } else if (peek().type == Tok::kName && peek(1).type == Tok::kOperator && peek(1).text == "=") {
      if (args->named_rest) fail_at(line, "invalid call arguments");
      std::string name = next().text;
      next();
      args->named.emplace_back(std::move(name), keep(expression()));
    } else {
      if (args->rest || args->named_rest || !args->named.empty()) fail_at(line, "invalid call arguments");
      args->positional.push_back(keep(expression()));
    }
  }
  expect_op(")");
  return args;
}

ExprPtr Parser::call(ExprPtr node) {
  const int line = peek().line;
  if (node->kind == ExprKind::kAttribute && unsupported_method(node->name)) {
    refuse_at(line, "method '" + node->name + "' is not supported");
  }
  if (node->kind == ExprKind::kName && node->name == "lipsum") refuse_at(line, "function 'lipsum' is not supported");
  std::vector<ExprPtr> kids;
  kids.push_back(std::move(node));
  ExprPtr result = make(ExprKind::kCall, line, std::move(kids));
  result->call = call_args(&result->depth);
  check_depth(*result);
  return result;
}

std::string Parser::dotted_name() {
  std::string name = expect_name();
  while (skip_op(".")) name += "." + expect_name();
  return name;
}

// `node` is null when the filter stands alone in a block tag.
ExprPtr Parser::filter(ExprPtr node) {
  const int line = peek().line;
  std::vector<ExprPtr> kids;
  kids.push_back(std::move(node));
  ExprPtr result = make(ExprKind::kFilter, line, std::move(kids));
  result->name = dotted_name();
  result->filter = find_filter(result->name);
  if (!result->filter && conditions_ == 0)
    refuse_at(line, "filter '" + result->name.substr(0, 60) + "' is not supported");
  result->call = at_op("(") ? call_args(&result->depth) : std::make_unique<CallArgs>();
  check_depth(*result);
  if (conditions_ == 0) check_named_functions(*result);
  return result;
}

bool Parser::test_argument_follows() const {
  switch (peek().type) {
    case Tok::kName: return !at_name("else") && !at_name("or") && !at_name("and");
    case Tok::kString:
    case Tok::kInteger:
    case Tok::kFloat: return true;
    default: return at_op("[") || at_op("{");
  }
}

ExprPtr Parser::test(ExprPtr node) {
  const int line = next().line;
  const bool negated = skip_name("not");
  std::vector<ExprPtr> kids;
  kids.push_back(std::move(node));
  ExprPtr result = make(ExprKind::kTest, line, std::move(kids));
  result->name = dotted_name();
  result->test = find_test(result->name);
  if (!result->test && conditions_ == 0) refuse_at(line, "test '" + result->name.substr(0, 60) + "' is not supported");
  if (at_op("(")) {
    result->call = call_args(&result->depth);
  } else {
    result->call = std::make_unique<CallArgs>();
    if (test_argument_follows()) {
      if (at_name("is")) fail_at(line, "tests cannot be chained with 'is'");
      const Nest nest(*this);
      result->call->positional.push_back(postfix(primary()));
      result->depth = std::max(result->depth, result->call->positional[0]->depth + 1);
    }
  }
  check_depth(*result);
  return negated ? binary(Op::kNot, std::move(result), nullptr) : std::move(result);
}

}  // namespace foregate::jinja
