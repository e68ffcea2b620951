// Functions of the environment: range, dict, namespace, cycler, joiner and the two that chat
// templates get from transformers, raise_exception and strftime_now.
#include <ctime>

#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_text.h"

namespace foregate::jinja {
namespace {

constexpr std::int64_t kMaxRange = 100'000;  // the limit of jinja2's sandbox

Value make_range(Evaluator& ev, const Value&, const Args& args) {
  const Bound bound("range", args, {"start", "stop", "step"}, 1);
  const bool one = !bound.has(1);
  const std::int64_t start = one ? 0 : bound.integer(0, 0);
  const std::int64_t stop = bound.integer(one ? 0 : 1, 0);
  const std::int64_t step = bound.integer(2, 1);
  if (step == 0) fail("range() arg 3 must not be zero");
  const __int128 distance = static_cast<__int128>(stop) - start;
  const __int128 size =
      (step > 0) == (distance > 0) && distance != 0 ? (distance + step - (step > 0 ? 1 : -1)) / step : 0;
  if (size > kMaxRange) exhausted("range longer than 100000");
  ev.heap().charge(static_cast<std::uint64_t>(size) + 1);
  Value v;
  v.kind = Kind::kSeq;
  v.seq = ev.heap().range(start, stop, step);
  v.seq->items.reserve(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) v.seq->items.push_back(int_value(start + i * step));
  return v;
}

void put_pairs(Evaluator& ev, Dict& dict, const Value& from) {
  Heap& heap = ev.heap();
  if (from.is(Kind::kDict)) {
    heap.charge(from.dict->entries.size());
    for (const auto& [key, value] : from.dict->entries) dict.put(heap, key, value);
    return;
  }
  require_defined(from);
  for (const Value& item : ev.iterate(from)->items) {
    const Seq& pair = *ev.iterate(item);
    if (pair.items.size() != 2) fail("dict() needs pairs");
    const Value& key = pair.items[0];
    const bool list = key.is(Kind::kSeq) && key.seq->kind == SeqKind::kList;
    if (list || key.is(Kind::kDict)) fail(std::string("unhashable type: '") + type_name(key) + "'");
    dict.put(heap, key, pair.items[1]);
  }
}

Dict* dict_of(Evaluator& ev, const Args& args) {
  Dict* dict = ev.heap().dict();
  if (args.positional.size() > 1) fail("dict expected at most 1 argument");
  if (!args.positional.empty()) put_pairs(ev, *dict, args.positional[0]);
  for (const auto& [name, value] : args.named) dict->put(ev.heap(), ev.heap().text(std::string(name)), value);
  return dict;
}

Value make_dict(Evaluator& ev, const Value&, const Args& args) {
  return ev.heap().dict_value(dict_of(ev, args));
}

Value make_namespace(Evaluator& ev, const Value&, const Args& args) {
  const Dict& dict = *dict_of(ev, args);
  Value v;
  v.kind = Kind::kNamespace;
  v.ns = ev.heap().new_namespace();
  for (const auto& [key, value] : dict.entries) {
    if (!key.string()) refuse("namespace attributes that are not strings");
    if (view(key).substr(0, 1) == "_") fail("a namespace cannot hold '" + key.str->bytes + "'");
    ev.heap().charge(1 + v.ns->attributes.size() / 8);
    v.ns->put(view(key), value);
  }
  return v;
}

Value make_cycler(Evaluator& ev, const Value&, const Args& args) {
  if (args.positional.empty() || !args.named.empty()) fail("cycler needs at least one item");
  Cursor cursor;
  cursor.items = args.positional;
  return ev.heap().cursor(std::move(cursor));
}

Value make_joiner(Evaluator& ev, const Value&, const Args& args) {
  const Bound bound("joiner", args, {"sep"});
  Cursor cursor;
  cursor.joiner = true;
  cursor.items.push_back(bound.has(0) ? bound[0] : ev.heap().text(", "));
  return ev.heap().cursor(std::move(cursor));
}

Value raise_exception(Evaluator& ev, const Value&, const Args& args) {
  const Bound bound("raise_exception", args, {"message"}, 1);
  constexpr std::size_t kMaxMessage = 4096;
  throw Error{invalid_argument(to_str(ev.heap(), bound[0]).str->bytes.substr(0, kMaxMessage)), true};
}

// One directive of strftime in the C locale, in UTC; widths are refused so that none can be huge.
void append_directive(TextBuilder& out, const std::tm& when, std::string_view directive) {
  static constexpr std::string_view kKnown = "aAbBcdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZC%";
  if (directive.empty() || kKnown.find(directive.back()) == std::string_view::npos) {
    refuse("strftime_now directive '%" + std::string(directive) + "' is not supported");
  }
  char buffer[128];
  const std::string format = "%" + std::string(directive);
  out.add(std::string_view(buffer, std::strftime(buffer, sizeof buffer, format.c_str(), &when)));
}

Value strftime_now(Evaluator& ev, const Value&, const Args& args) {
  const Bound bound("strftime_now", args, {"format"}, 1);
  const std::string_view format = bound.text(0).bytes;
  const std::time_t now = static_cast<std::time_t>(ev.now_unix_seconds());
  std::tm when{};
  if (!gmtime_r(&now, &when)) fail("strftime_now: the time is out of range");
  TextBuilder out(ev.heap());
  for (std::size_t at = 0; at < format.size();) {
    const std::size_t percent = std::min(format.find('%', at), format.size());
    out.add(format.substr(at, percent - at));
    if (percent == format.size()) break;
    ev.heap().charge(1);
    std::size_t end = percent + 1;
    if (end < format.size() && std::string_view("-_0^#").find(format[end]) != std::string_view::npos) ++end;
    if (end < format.size()) ++end;
    append_directive(out, when, format.substr(percent + 1, end - percent - 1));
    at = end;
  }
  return out.finish();
}

}  // namespace

std::vector<NamedFn> functions() {
  return {{"range", make_range},         {"dict", make_dict},     {"namespace", make_namespace},
          {"cycler", make_cycler},       {"joiner", make_joiner}, {"raise_exception", raise_exception},
          {"strftime_now", strftime_now}};
}

}  // namespace foregate::jinja
