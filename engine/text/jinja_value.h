// Values of the template interpreter: a small tagged handle over objects that one render's Heap (or
// the compiled template, for constants) owns. Everything but namespaces is immutable once made, as
// in jinja2's immutable sandbox, so handles are copied freely. One thread per Heap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/text/tokenizer.h"

namespace foregate::jinja {

class Evaluator;
class Heap;
struct Args;
struct Str;
struct Seq;
struct Dict;
struct Namespace;
struct Callable;
struct Loop;
struct Cursor;

enum class Kind : std::uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kSeq,
  kDict,
  kNamespace,
  kCallable,
  kLoop,
  kCursor
};

struct Value {
  Kind kind = Kind::kUndefined;
  bool wide = false;  // kInt: the bits are a uint64 above INT64_MAX (may be printed, not computed with)
  union {
    bool boolean;
    std::int64_t integer;
    double number;
    const Str* str;  // kUndefined: why it is undefined, or null
    Seq* seq;
    const Dict* dict;
    Namespace* ns;
    const Callable* callable;
    Loop* loop;
    Cursor* cursor;
  };

  Value() : str(nullptr) {}
  bool is(Kind k) const { return kind == k; }
  bool undefined() const { return kind == Kind::kUndefined; }
  bool none() const { return kind == Kind::kNone; }
  bool string() const { return kind == Kind::kString; }
  bool integral() const { return kind == Kind::kInt || kind == Kind::kBool; }
  bool numeric() const { return integral() || kind == Kind::kFloat; }
  std::int64_t as_int() const { return kind == Kind::kBool ? boolean : integer; }
};

Value none_value();
Value bool_value(bool b);
Value int_value(std::int64_t i);
Value float_value(double f);
Value str_value(const Str* s);

// Text with the byte ranges that came from the client. Markup is jinja2's "safe" string.
struct Str {
  std::string bytes;
  std::vector<TextSpan> marks;
  bool markup = false;
  mutable std::int64_t code_points = -1;  // counted on first use; set at compile for constants
};

// list, tuple, range, a dict's view, or a generator (consumed once, from `next`).
enum class SeqKind : std::uint8_t { kList, kTuple, kGroup, kRange, kView, kGenerator };

struct Seq {
  SeqKind kind = SeqKind::kList;
  std::vector<Value> items;
  std::size_t next = 0;                        // kGenerator
  std::int64_t start = 0, stop = 0, step = 1;  // kRange
};

struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string_view, std::uint32_t> strings;  // filled once there are many entries
  const Value* find(std::string_view key) const;
  const Value* find(Heap& heap, const Value& key) const;
  void put(Heap& heap, const Value& key, const Value& value);  // keeps the first position of a key, as Python does
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* find(std::string_view name) const;
  void put(std::string_view name, const Value& value);
};

using NativeFn = Value (*)(Evaluator&, const Value& self, const Args& args);

struct MacroDef;
struct Scope;

// A function of the environment, a method bound to `self`, or a macro with its scope.
struct Callable {
  std::string name;
  NativeFn native = nullptr;
  Value self;
  const MacroDef* macro = nullptr;
  Scope* scope = nullptr;
};

// cycler() and joiner() objects.
struct Cursor {
  bool joiner = false;
  std::vector<Value> items;
  std::size_t position = 0;
};

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
  const Value* find(std::string_view name) const;
};

bool equal(Heap& heap, const Value& a, const Value& b, int depth = 0);  // Python's ==; charges the budget
bool truthy(const Value& v);
const char* type_name(const Value& v);  // Python's name of the type
std::string_view view(const Value& string);
bool is_callable(const Value& v);

}  // namespace foregate::jinja
