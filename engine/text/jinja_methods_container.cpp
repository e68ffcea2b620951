// Methods of lists, dicts and cyclers. Only those that change nothing exist.
#include <algorithm>

#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_eval.h"
#include "engine/text/jinja_library.h"

namespace foregate::jinja {
namespace {

enum View : std::int64_t { kItems, kKeys, kValues };

template <View Which>
Value dict_view(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("dict method", args, {});
  std::vector<Value> items;
  items.reserve(self.dict->entries.size());
  for (const auto& [key, value] : self.dict->entries) {
    if (Which == kItems) {
      items.push_back(ev.heap().list({key, value}, SeqKind::kTuple));
    } else {
      items.push_back(Which == kKeys ? key : value);
    }
  }
  const Value view = ev.heap().list(std::move(items), SeqKind::kView);
  view.seq->start = Which;
  return view;
}

Value dict_get(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("get", args, {"key", "default"}, 1);
  if (const Value* found = self.dict->find(ev.heap(), bound[0])) return *found;
  return bound.has(1) ? bound[1] : none_value();
}

Value same_object(Evaluator&, const Value& self, const Args& args) {
  const Bound bound("copy", args, {});
  return self;  // nothing can change it, so it is its own copy
}

Value seq_count(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("count", args, {"value"}, 1);
  std::int64_t count = 0;
  for (const Value& item : self.seq->items) count += equal(ev.heap(), item, bound[0]);
  return int_value(count);
}

Value seq_index(Evaluator& ev, const Value& self, const Args& args) {
  const Bound bound("index", args, {"value", "start", "stop"}, 1);
  const auto size = static_cast<std::int64_t>(self.seq->items.size());
  const auto clamp = [size](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + size : i, 0, size); };
  const std::int64_t stop = clamp(bound.integer(2, size));
  for (std::int64_t i = clamp(bound.integer(1, 0)); i < stop; ++i) {
    if (equal(ev.heap(), self.seq->items[static_cast<std::size_t>(i)], bound[0])) return int_value(i);
  }
  fail("value is not in the list");
}

Value cycler_next(Evaluator&, const Value& self, const Args& args) {
  const Bound bound("next", args, {});
  Cursor& cycler = *self.cursor;
  const Value result = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return result;
}

Value cycler_reset(Evaluator&, const Value& self, const Args& args) {
  const Bound bound("reset", args, {});
  self.cursor->position = 0;
  return none_value();
}

}  // namespace

std::vector<NamedFn> sequence_methods() {
  return {{"count", seq_count}, {"index", seq_index}, {"copy", same_object}};
}

std::vector<NamedFn> dict_methods() {
  return {{"items", dict_view<kItems>},
          {"keys", dict_view<kKeys>},
          {"values", dict_view<kValues>},
          {"get", dict_get},
          {"copy", same_object}};
}

std::vector<NamedFn> cursor_methods() {
  return {{"next", cycler_next}, {"reset", cycler_reset}};
}

}  // namespace foregate::jinja
