// Filters over sequences and dicts.
#include <algorithm>

#include "engine/text/jinja_args.h"
#include "engine/text/jinja_error.h"
#include "engine/text/jinja_library.h"
#include "engine/text/jinja_methods.h"
#include "engine/text/jinja_ops.h"
#include "engine/text/jinja_utf8.h"

namespace foregate::jinja {

Value fold_case(Heap& heap, const Value& v, bool case_sensitive) {
  return !case_sensitive && v.string() ? map_text(heap, *v.str, lower) : v;
}

Value attribute_path(Evaluator& ev, const Value& item, const Value& path, const Value* otherwise) {
  const auto step = [&](const Value& object, const Value& key) {
    const Value found = ev.item(object, key, Value());
    return found.undefined() && otherwise && !otherwise->none() ? *otherwise : found;
  };
  if (!path.string()) return step(item, path);
  Value value = item;
  const std::string_view text = view(path);
  for (std::size_t from = 0;;) {
    const std::size_t dot = text.find('.', from);
    const std::string_view part = text.substr(from, dot == std::string_view::npos ? dot : dot - from);
    const bool digits = !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
    value = step(value, digits ? int_value(std::stoll(std::string(part))) : ev.heap().text(std::string(part)));
    if (dot == std::string_view::npos) return value;
    from = dot + 1;
  }
}

namespace {

Value filter_list(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("list", args, {});
  return ev.heap().list(ev.iterate(in)->items);
}

Value filter_first(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("first", args, {});
  if (in.is(Kind::kSeq) && in.seq->kind == SeqKind::kGenerator) {  // takes one, leaves the rest
    if (in.seq->next < in.seq->items.size()) return in.seq->items[in.seq->next++];
  } else if (in.string()) {
    if (!in.str->bytes.empty()) return ev.item(in, int_value(0), Value());
  } else if (const Seq& items = *ev.iterate(in); !items.items.empty()) {
    return items.items.front();
  }
  return ev.heap().undefined("No first item, sequence was empty.");
}

Value filter_last(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("last", args, {});
  if (in.is(Kind::kSeq) && in.seq->kind == SeqKind::kGenerator) fail("'generator' object is not reversible");
  if (in.string() && !in.str->bytes.empty()) return ev.item(in, int_value(-1), Value());
  const Seq& items = *ev.iterate(in);
  return items.items.empty() ? ev.heap().undefined("No last item, sequence was empty.") : items.items.back();
}

Value filter_reverse(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("reverse", args, {});
  if (in.string()) {
    const Value step = int_value(-1);
    return slice(ev, in, nullptr, nullptr, &step);
  }
  std::vector<Value> items = ev.iterate(in)->items;
  std::reverse(items.begin(), items.end());
  return ev.heap().list(std::move(items), SeqKind::kGenerator);
}

struct Keyed {
  Value key, item;
};

void sort_keyed(Heap& heap, std::vector<Keyed>& rows, bool reverse) {
  heap.charge(rows.size());
  std::stable_sort(rows.begin(), rows.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? less(heap, b.key, a.key) : less(heap, a.key, b.key);
  });
}

std::vector<Value> items_of(const std::vector<Keyed>& rows) {
  std::vector<Value> items;
  items.reserve(rows.size());
  for (const Keyed& row : rows) items.push_back(row.item);
  return items;
}

// Value of "a,b" style attributes as a list, or the item itself.
Value sort_key(Evaluator& ev, const Value& item, const Value* attribute, bool case_sensitive) {
  Heap& heap = ev.heap();
  if (!attribute) return fold_case(heap, item, case_sensitive);
  if (!attribute->string() || view(*attribute).find(',') == std::string_view::npos) {
    return fold_case(heap, attribute_path(ev, item, *attribute), case_sensitive);
  }
  std::vector<Value> keys;
  const std::string_view paths = view(*attribute);
  for (std::size_t from = 0;;) {
    const std::size_t comma = paths.find(',', from);
    const std::string_view part = paths.substr(from, comma == std::string_view::npos ? comma : comma - from);
    keys.push_back(fold_case(heap, attribute_path(ev, item, heap.text(std::string(part))), case_sensitive));
    if (comma == std::string_view::npos) break;
    from = comma + 1;
  }
  return heap.list(std::move(keys));
}

std::vector<Keyed> keyed_rows(Evaluator& ev, const Value& in, const Value* attribute, bool case_sensitive) {
  std::vector<Keyed> rows;
  for (const Value& item : ev.iterate(in)->items) rows.push_back({sort_key(ev, item, attribute, case_sensitive), item});
  return rows;
}

Value filter_sort(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("sort", args, {"reverse", "case_sensitive", "attribute"});
  std::vector<Keyed> rows = keyed_rows(ev, in, bound.given(2) ? &bound[2] : nullptr, bound.flag(1, false));
  sort_keyed(ev.heap(), rows, bound.flag(0, false));
  return ev.heap().list(items_of(rows));
}

Value filter_unique(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("unique", args, {"case_sensitive", "attribute"});
  Heap& heap = ev.heap();
  Dict* seen = heap.dict();
  std::vector<Value> items;
  for (const Keyed& row : keyed_rows(ev, in, bound.given(1) ? &bound[1] : nullptr, bound.flag(0, false))) {
    const bool list = row.key.is(Kind::kSeq) && row.key.seq->kind == SeqKind::kList;
    if (list || row.key.is(Kind::kDict)) fail(std::string("unhashable type: '") + type_name(row.key) + "'");
    if (seen->find(heap, row.key)) continue;
    seen->put(heap, row.key, none_value());
    items.push_back(row.item);
  }
  return heap.list(std::move(items), SeqKind::kGenerator);
}

template <bool Max>
Value filter_extreme(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound(Max ? "max" : "min", args, {"case_sensitive", "attribute"});
  const std::vector<Keyed> rows = keyed_rows(ev, in, bound.given(1) ? &bound[1] : nullptr, bound.flag(0, false));
  if (rows.empty()) return ev.heap().undefined("No aggregated item, sequence was empty.");
  const Keyed* best = &rows[0];
  for (const Keyed& row : rows) {
    if (Max ? less(ev.heap(), best->key, row.key) : less(ev.heap(), row.key, best->key)) best = &row;
  }
  return best->item;
}

Value pair_of(Heap& heap, const std::pair<Value, Value>& entry) {
  return heap.list({entry.first, entry.second}, SeqKind::kTuple);
}

Value filter_items(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("items", args, {});
  std::vector<Value> items;
  if (!in.undefined()) {
    if (!in.is(Kind::kDict)) fail("Can only get item pairs from a mapping.");
    for (const auto& entry : in.dict->entries) items.push_back(pair_of(ev.heap(), entry));
  }
  return ev.heap().list(std::move(items), SeqKind::kGenerator);
}

Value filter_dictsort(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("dictsort", args, {"case_sensitive", "by", "reverse"});
  require_defined(in);
  if (!in.is(Kind::kDict)) fail(std::string("dictsort needs a mapping, not ") + type_name(in));
  const std::string by = bound.has(1) ? bound.text(1).bytes : "key";
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  std::vector<Keyed> rows;
  for (const auto& entry : in.dict->entries) {
    const Value& key = by == "key" ? entry.first : entry.second;
    rows.push_back({fold_case(ev.heap(), key, bound.flag(0, false)), pair_of(ev.heap(), entry)});
  }
  sort_keyed(ev.heap(), rows, bound.flag(2, false));
  return ev.heap().list(items_of(rows));
}

std::size_t positive_count(const Bound& bound, std::size_t i, const char* what) {
  const std::int64_t count = bound.integer(i, 0);
  if (count <= 0) fail(std::string(what) + " needs a positive count");
  return static_cast<std::size_t>(count);
}

Value filter_batch(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("batch", args, {"linecount", "fill_with"}, 1);
  const std::size_t width = positive_count(bound, 0, "batch");
  Heap& heap = ev.heap();
  std::vector<Value> lines;
  std::vector<Value> line;
  for (const Value& item : ev.iterate(in)->items) {
    if (line.size() == width) lines.push_back(heap.list(std::move(line))), line.clear();
    line.push_back(item);
  }
  if (!line.empty()) {
    if (bound.given(1) && line.size() < width) {
      heap.charge(width);
      line.resize(width, bound[1]);
    }
    lines.push_back(heap.list(std::move(line)));
  }
  return heap.list(std::move(lines), SeqKind::kGenerator);
}

Value filter_slice(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("slice", args, {"slices", "fill_with"}, 1);
  const std::size_t count = positive_count(bound, 0, "slice");
  Heap& heap = ev.heap();
  heap.charge(count);
  const std::vector<Value>& items = ev.iterate(in)->items;
  const std::size_t each = items.size() / count;
  const std::size_t longer = items.size() % count;
  std::vector<Value> slices;
  std::size_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = each + (i < longer ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<std::ptrdiff_t>(at),
                            items.begin() + static_cast<std::ptrdiff_t>(at + size));
    if (bound.given(1) && i >= longer) part.push_back(bound[1]);
    slices.push_back(heap.list(std::move(part)));
    at += size;
  }
  return heap.list(std::move(slices), SeqKind::kGenerator);
}

Value group_key(Evaluator& ev, const Value& item, const Bound& bound) {
  return attribute_path(ev, item, bound[0], bound.has(1) ? &bound[1] : nullptr);
}

Value filter_groupby(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  Heap& heap = ev.heap();
  std::vector<Keyed> rows;
  for (const Value& item : ev.iterate(in)->items) {
    rows.push_back({fold_case(heap, group_key(ev, item, bound), bound.flag(2, false)), item});
  }
  sort_keyed(heap, rows, false);
  std::vector<Value> groups;
  for (std::size_t i = 0; i < rows.size();) {
    std::vector<Value> members;
    const std::size_t first = i;
    for (; i < rows.size() && equal(heap, rows[i].key, rows[first].key); ++i) members.push_back(rows[i].item);
    if (i == first) ++i;
    const Value key = group_key(ev, rows[first].item, bound);
    groups.push_back(heap.list({key, heap.list(std::move(members))}, SeqKind::kGroup));
  }
  return heap.list(std::move(groups));
}

Value filter_default(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("default", args, {"default_value", "boolean"});
  const bool missing = in.undefined() || (bound.flag(1, false) && !truthy(in));
  if (!missing) return in;
  return bound.has(0) ? bound[0] : ev.heap().text(std::string());
}

Value filter_attr(Evaluator& ev, const Value& in, const Args& args) {
  const Bound bound("attr", args, {"name"}, 1);
  require_defined(in);
  const Str& name = bound.text(0);
  const Value missing = ev.heap().undefined("'" + name.bytes + "' is undefined");
  // Attributes proper only: a dict's keys are not among them.
  if (in.is(Kind::kDict) && !find_method(in, name.bytes)) return missing;
  return ev.attribute(in, name.bytes, missing);
}

}  // namespace

std::vector<NamedFn> sequence_filters() {
  return {{"list", filter_list},          {"first", filter_first},       {"last", filter_last},
          {"reverse", filter_reverse},    {"sort", filter_sort},         {"unique", filter_unique},
          {"min", filter_extreme<false>}, {"max", filter_extreme<true>}, {"items", filter_items},
          {"dictsort", filter_dictsort},  {"batch", filter_batch},       {"slice", filter_slice},
          {"groupby", filter_groupby},    {"default", filter_default},   {"d", filter_default},
          {"attr", filter_attr}};
}

}  // namespace foregate::jinja
