// map, select, reject and their attribute forms.
#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_ops.h"

namespace foregate::jinja {
namespace {

Args arguments_after(const Args& args, std::size_t count) {
  Args rest;
  rest.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(count), args.positional.end());
  rest.named = args.named;
  return rest;
}

Value map_attribute(Evaluator& ev, const Value& in, const Args& args) {
  const Value* attribute = args.find("attribute");
  const Value* otherwise = args.find("default");
  for (const auto& [name, value] : args.named) {
    if (name != "attribute" && name != "default") fail("map: unexpected keyword argument '" + std::string(name) + "'");
  }
  if (!attribute) fail("map requires a filter argument");
  std::vector<Value> items;
  for (const Value& item : ev.iterate(in)->items) {
    items.push_back(attribute_path(ev, item, *attribute, otherwise));
  }
  return ev.heap().list(std::move(items), SeqKind::kGenerator);
}

Value filter_map(Evaluator& ev, const Value& in, const Args& args) {
  if (!truthy(in)) return ev.heap().list({}, SeqKind::kGenerator);
  if (args.positional.empty()) return map_attribute(ev, in, args);
  if (!args.positional[0].string()) fail("map: the filter's name must be a string");
  const NativeFn filter = find_filter(view(args.positional[0]));
  if (!filter) refuse("filter '" + args.positional[0].str->bytes.substr(0, 60) + "' is not supported");
  const Args rest = arguments_after(args, 1);
  std::vector<Value> items;
  for (const Value& item : ev.iterate(in)->items) {
    ev.heap().charge(1);
    items.push_back(filter(ev, item, rest));
  }
  return ev.heap().list(std::move(items), SeqKind::kGenerator);
}

template <bool Keep, bool ByAttribute>
Value choose(Evaluator& ev, const Value& in, const Args& args) {
  if (!truthy(in)) return ev.heap().list({}, SeqKind::kGenerator);
  const std::size_t skip = ByAttribute ? 1 : 0;
  if (args.positional.size() < skip) fail("missing parameter for attribute name");
  TestFn test = nullptr;
  Args rest;
  if (args.positional.size() > skip) {
    const Value& name = args.positional[skip];
    if (!name.string()) fail("the test's name must be a string");
    test = find_test(view(name));
    if (!test) refuse("test '" + name.str->bytes.substr(0, 60) + "' is not supported");
    rest = arguments_after(args, skip + 1);
  }
  std::vector<Value> items;
  for (const Value& item : ev.iterate(in)->items) {
    ev.heap().charge(1);
    const Value subject = ByAttribute ? attribute_path(ev, item, args.positional[0]) : item;
    if ((test ? test(ev, subject, rest) : truthy(subject)) == Keep) items.push_back(item);
  }
  return ev.heap().list(std::move(items), SeqKind::kGenerator);
}

}  // namespace

std::vector<NamedFn> select_filters() {
  return {{"map", filter_map},
          {"select", choose<true, false>},
          {"reject", choose<false, false>},
          {"selectattr", choose<true, true>},
          {"rejectattr", choose<false, true>}};
}

}  // namespace foregate::jinja
