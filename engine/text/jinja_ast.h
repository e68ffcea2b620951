// Syntax tree of a template. Built once by the parser with its depth bounded, then read only: any
// number of threads may evaluate it at once.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/text/jinja_value.h"

namespace foregate::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;
using TestFn = bool (*)(Evaluator&, const Value& subject, const Args& args);

enum class ExprKind : std::uint8_t {
  kConst,
  kName,
  kAttribute,    // kids[0].name
  kItem,         // kids[0][kids[1]]
  kSlice,        // kids[0][kids[1]:kids[2]:kids[3]], absent parts null
  kCall,         // kids[0](call)
  kFilter,       // kids[0] | name(call); kids[0] null inside {% filter %} and {% set %} blocks
  kTest,         // kids[0] is name(call)
  kUnary,        // op kids[0]
  kBinary,       // kids[0] op kids[1]
  kCompare,      // kids[0] ops[0] kids[1] ops[1] kids[2] ...
  kConcat,       // all kids joined as text
  kConditional,  // kids[0] if kids[1] else kids[2] (may be null)
  kList,
  kTuple,
  kDict  // key, value, key, value
};

enum class Op : std::uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kNegate,
  kPlus,
  kNot,
  kAnd,
  kOr,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn
};

struct CallArgs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr rest;        // *rest
  ExprPtr named_rest;  // **named_rest
};

struct Expr {
  ExprKind kind = ExprKind::kConst;
  Op op = Op::kAdd;
  int line = 0;
  int depth = 1;
  int name_id = -1;  // kName
  Value constant;    // kConst; kName, kAttribute, kItem: the undefined value for a miss
  std::string name;
  std::vector<ExprPtr> kids;
  std::vector<Op> ops;
  std::unique_ptr<CallArgs> call;
  NativeFn filter = nullptr;
  TestFn test = nullptr;
};

// Where an assignment goes: a name, a namespace attribute, or a tuple of names.
struct Target {
  int name_id = -1;
  std::string attribute;      // not empty: attribute of the namespace in name_id
  std::vector<Target> parts;  // not empty: unpacking
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct MacroDef {
  std::string name;
  int name_id = -1;
  int line = 0;
  std::vector<int> parameters;
  std::vector<std::string> parameter_names;
  std::vector<ExprPtr> defaults;  // of the last parameters
  bool takes_varargs = false, takes_kwargs = false, takes_caller = false;
  Body body;
};

enum class StmtKind : std::uint8_t {
  kData,
  kPrint,
  kIf,
  kFor,
  kSet,
  kSetBlock,
  kMacro,
  kCallBlock,
  kFilterBlock,
  kWith,
  kScope,  // {% generation %}: passes its content through
  kBreak,
  kContinue
};

struct Stmt {
  StmtKind kind = StmtKind::kData;
  int line = 0;
  std::string data;
  std::vector<ExprPtr> exprs;   // kPrint: what to print; kIf: conditions; kFor: iterable, filter or null; kWith: values
  std::vector<Body> bodies;     // kIf: one per condition, then else; kFor: body, else; others: body
  std::vector<Target> targets;  // kSet, kSetBlock, kFor: one; kWith: one per value
  std::unique_ptr<MacroDef> macro;  // kMacro, kCallBlock
};

struct Tree {
  Body body;
  std::vector<std::string> names;  // name_id -> spelling
  std::deque<Str> texts;           // constants' storage
};

// Fixed name ids the evaluator needs; the parser interns them first, in this order.
enum FixedName : int { kNameLoop, kNameCaller, kNameVarargs, kNameKwargs, kFixedNames };

}  // namespace foregate::jinja
