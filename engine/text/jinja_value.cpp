#include "engine/text/jinja_value.h"

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_heap.h"

namespace foregate::jinja {
namespace {

constexpr std::size_t kIndexFrom = 9;  // dicts below this size are searched in order
constexpr int kCompareDepth = 200;

bool equal_seq(Heap& heap, const Seq& a, const Seq& b, int depth) {
  const bool tuples = (a.kind == SeqKind::kTuple || a.kind == SeqKind::kGroup) &&
                      (b.kind == SeqKind::kTuple || b.kind == SeqKind::kGroup);
  if (&a == &b) return true;
  if (a.kind != b.kind && !tuples) return false;
  if (a.kind == SeqKind::kGenerator || a.kind == SeqKind::kView) return false;
  if (a.items.size() != b.items.size()) return false;
  for (std::size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(heap, a.items[i], b.items[i], depth)) return false;
  }
  return true;
}

bool equal_dict(Heap& heap, const Dict& a, const Dict& b, int depth) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.find(heap, key);
    if (!other || !equal(heap, value, *other, depth)) return false;
  }
  return true;
}

bool equal_text(Heap& heap, const Str& a, const Str& b) {
  if (&a == &b) return true;
  if (a.bytes.size() != b.bytes.size()) return false;
  heap.charge(a.bytes.size() / kBytesPerOperation);
  return a.bytes == b.bytes;
}

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) {
    const double x = a.is(Kind::kFloat) ? a.number : static_cast<double>(a.as_int());
    const double y = b.is(Kind::kFloat) ? b.number : static_cast<double>(b.as_int());
    return x == y;
  }
  return a.wide == b.wide && a.as_int() == b.as_int();
}

}  // namespace

void fail(std::string message) {
  throw Error{invalid_argument(std::move(message))};
}
void refuse(std::string message) {
  throw Error{unimplemented(std::move(message))};
}
void exhausted(const char* what) {
  throw Error{resource_exhausted(std::string("chat template: ") + what)};
}
void fail_at(int line, std::string message) {
  throw Error{invalid_argument("chat template line " + std::to_string(line) + ": " + message), true};
}
void refuse_at(int line, std::string message) {
  throw Error{unimplemented("chat template line " + std::to_string(line) + ": " + message), true};
}

Value none_value() {
  Value v;
  v.kind = Kind::kNone;
  return v;
}
Value bool_value(bool b) {
  Value v;
  v.kind = Kind::kBool;
  v.integer = 0;
  v.boolean = b;
  return v;
}
Value int_value(std::int64_t i) {
  Value v;
  v.kind = Kind::kInt;
  v.integer = i;
  return v;
}
Value float_value(double f) {
  Value v;
  v.kind = Kind::kFloat;
  v.number = f;
  return v;
}
Value str_value(const Str* s) {
  Value v;
  v.kind = Kind::kString;
  v.str = s;
  return v;
}

const Value* Dict::find(std::string_view key) const {
  if (!strings.empty()) {
    const auto it = strings.find(key);
    return it == strings.end() ? nullptr : &entries[it->second].second;
  }
  for (const auto& [k, v] : entries) {
    if (k.string() && k.str->bytes == key) return &v;
  }
  return nullptr;
}

const Value* Dict::find(Heap& heap, const Value& key) const {
  if (key.string()) return find(view(key));
  for (const auto& [k, v] : entries) {
    if (!k.string() && equal(heap, k, key)) return &v;
  }
  return nullptr;
}

void Dict::put(Heap& heap, const Value& key, const Value& value) {
  if (const Value* old = find(heap, key)) {
    *const_cast<Value*>(old) = value;
    return;
  }
  entries.emplace_back(key, value);
  if (entries.size() < kIndexFrom) return;
  if (strings.empty()) {
    for (std::uint32_t i = 0; i < entries.size(); ++i) {
      if (entries[i].first.string()) strings.emplace(view(entries[i].first), i);
    }
  } else if (key.string()) {
    strings.emplace(view(key), static_cast<std::uint32_t>(entries.size() - 1));
  }
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

void Namespace::put(std::string_view name, const Value& value) {
  if (const Value* old = find(name)) {
    *const_cast<Value*>(old) = value;
  } else {
    attributes.emplace_back(name, value);
  }
}

const Value* Args::find(std::string_view name) const {
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

bool equal(Heap& heap, const Value& a, const Value& b, int depth) {
  heap.charge(1);
  if (depth > kCompareDepth) exhausted("values nested too deeply to compare");
  if (a.numeric() && b.numeric()) return equal_numbers(a, b);
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString: return equal_text(heap, *a.str, *b.str);
    case Kind::kSeq: return equal_seq(heap, *a.seq, *b.seq, depth + 1);
    case Kind::kDict: return a.dict == b.dict || equal_dict(heap, *a.dict, *b.dict, depth + 1);
    default: return a.ns == b.ns;
  }
}

bool truthy(const Value& v) {
  switch (v.kind) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool: return v.boolean;
    case Kind::kInt: return v.integer != 0;
    case Kind::kFloat: return v.number != 0.0;
    case Kind::kString: return !v.str->bytes.empty();
    case Kind::kSeq: return v.seq->kind == SeqKind::kGenerator || !v.seq->items.empty();
    case Kind::kDict: return !v.dict->entries.empty();
    default: return true;
  }
}

const char* type_name(const Value& v) {
  switch (v.kind) {
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return v.str->markup ? "Markup" : "str";
    case Kind::kDict: return "dict";
    case Kind::kNamespace: return "Namespace";
    case Kind::kCallable: return "function";
    case Kind::kLoop: return "LoopContext";
    case Kind::kCursor: return v.cursor->joiner ? "Joiner" : "Cycler";
    case Kind::kSeq: break;
  }
  switch (v.seq->kind) {
    case SeqKind::kList: return "list";
    case SeqKind::kTuple:
    case SeqKind::kGroup: return "tuple";
    case SeqKind::kRange: return "range";
    case SeqKind::kView: return "dict view";
    case SeqKind::kGenerator: return "generator";
  }
  return "object";
}

std::string_view view(const Value& string) {
  return string.str->bytes;
}

bool is_callable(const Value& v) {
  return v.undefined() || v.is(Kind::kCallable) || v.is(Kind::kLoop) || (v.is(Kind::kCursor) && v.cursor->joiner);
}

}  // namespace foregate::jinja
