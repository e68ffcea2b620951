#include "engine/text/jinja_library.h"

#include <algorithm>
#include <unordered_map>

#include "engine/text/jinja_error.h"

namespace foregate::jinja {
namespace {

template <class Fn>
using Table = std::unordered_map<std::string_view, Fn>;

Table<NativeFn> join_tables(std::initializer_list<std::vector<NamedFn>> parts) {
  Table<NativeFn> table;
  for (const auto& part : parts) {
    for (const NamedFn& entry : part) table.emplace(entry.name, entry.fn);
  }
  return table;
}

template <class Fn>
Fn find_in(const Table<Fn>& table, std::string_view name) {
  const auto it = table.find(name);
  return it == table.end() ? nullptr : it->second;
}

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

NativeFn find_filter(std::string_view name) {
  static const Table<NativeFn> table =
      join_tables({text_filters(), sequence_filters(), number_filters(), select_filters()});
  return find_in(table, name);
}

TestFn find_test(std::string_view name) {
  static const Table<TestFn> table = [] {
    Table<TestFn> all;
    for (const NamedTest& entry : tests()) all.emplace(entry.name, entry.fn);
    return all;
  }();
  return find_in(table, name);
}

NativeFn find_function(std::string_view name) {
  static const Table<NativeFn> table = join_tables({functions()});
  return find_in(table, name);
}

NativeFn find_method(const Value& self, std::string_view name) {
  static const Table<NativeFn> of_text = join_tables({string_methods(), string_query_methods()});
  static const Table<NativeFn> of_seq = join_tables({sequence_methods()});
  static const Table<NativeFn> of_dict = join_tables({dict_methods()});
  static const Table<NativeFn> of_cursor = join_tables({cursor_methods()});
  switch (self.kind) {
    case Kind::kString: return find_in(of_text, name);
    case Kind::kDict: return find_in(of_dict, name);
    case Kind::kCursor: return self.cursor->joiner ? nullptr : find_in(of_cursor, name);
    case Kind::kSeq: break;
    default: return nullptr;
  }
  const SeqKind kind = self.seq->kind;
  if (kind == SeqKind::kView || kind == SeqKind::kGenerator) return nullptr;
  return name == "copy" && kind != SeqKind::kList ? nullptr : find_in(of_seq, name);
}

bool unsupported_method(std::string_view name) {
  return one_of(name, {"encode", "format_map", "translate", "maketrans", "expandtabs", "casefold", "isidentifier",
                       "fromkeys", "hex", "decode", "bit_length", "to_bytes", "as_integer_ratio"});
}

bool mutating_method(const Value& self, std::string_view name) {
  if (self.is(Kind::kDict)) return one_of(name, {"clear", "pop", "popitem", "setdefault", "update"});
  if (!self.is(Kind::kSeq) || self.seq->kind != SeqKind::kList) return false;
  return one_of(name, {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"});
}

void check_named_functions(const Expr& filter) {
  const bool attr = one_of(filter.name, {"selectattr", "rejectattr"});
  const bool by_test = attr || one_of(filter.name, {"select", "reject"});
  if (!by_test && filter.name != "map") return;
  const std::size_t at = attr ? 1 : 0;
  if (filter.call->positional.size() <= at) return;
  const Expr& name = *filter.call->positional[at];
  if (name.kind != ExprKind::kConst || !name.constant.string()) return;
  const std::string spelled(view(name.constant).substr(0, 60));
  if (by_test && !find_test(view(name.constant))) refuse_at(name.line, "test '" + spelled + "' is not supported");
  if (!by_test && !find_filter(view(name.constant))) refuse_at(name.line, "filter '" + spelled + "' is not supported");
}

}  // namespace foregate::jinja
