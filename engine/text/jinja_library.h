// Tables of what templates may call: filters, tests, functions of the environment, and methods of
// strings, lists and dicts. Names are looked up at compile where they can be, so that an unknown one
// is refused before any request is served. Read-only after static initialisation.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_value.h"

namespace foregate::jinja {

NativeFn find_filter(std::string_view name);    // null when unknown
TestFn find_test(std::string_view name);        // null when unknown
NativeFn find_function(std::string_view name);  // range, dict, namespace, ...
// Method `name` of the type of `self`, null when it has none.
NativeFn find_method(const Value& self, std::string_view name);
// A method Python's built-in types have and this interpreter leaves out.
bool unsupported_method(std::string_view name);
// A method that would change a list or dict: the immutable sandbox forbids it.
bool mutating_method(const Value& self, std::string_view name);
// map, select, reject and their attr forms take the name of a filter or test: refuses unknown ones.
void check_named_functions(const Expr& filter);

// Parts of the tables, one per file.
struct NamedFn {
  std::string_view name;
  NativeFn fn;
};
struct NamedTest {
  std::string_view name;
  TestFn fn;
};
std::vector<NamedFn> text_filters();
std::vector<NamedFn> sequence_filters();
std::vector<NamedFn> number_filters();
std::vector<NamedFn> select_filters();
std::vector<NamedFn> string_methods();
std::vector<NamedFn> string_query_methods();
std::vector<NamedFn> sequence_methods();
std::vector<NamedFn> dict_methods();
std::vector<NamedFn> cursor_methods();
std::vector<NamedFn> functions();
std::vector<NamedTest> tests();

}  // namespace foregate::jinja
