#include "engine/text/jinja_heap.h"

#include <algorithm>

#include "engine/text/jinja_error.h"

namespace foregate::jinja {

void Heap::charge(std::uint64_t operations) {
  if (operations > left_) {
    left_ = 0;
    exhausted("operation budget spent");
  }
  left_ -= operations;
}

void Heap::charge_text(std::uint64_t bytes) {
  if (bytes > max_text_bytes_) exhausted("text longer than the output limit");
  charge(1 + bytes / kBytesPerOperation);
}

Value Heap::text(std::string bytes) {
  Str str;
  str.bytes = std::move(bytes);
  return text(std::move(str));
}

Value Heap::text(Str str) {
  charge_text(str.bytes.size());
  charge(str.marks.size() / 4);
  return str_value(&texts_.emplace_back(std::move(str)));
}

Value Heap::list(std::vector<Value> items, SeqKind kind) {
  charge(1 + items.size());
  Seq& seq = seqs_.emplace_back();
  seq.kind = kind;
  seq.items = std::move(items);
  Value v;
  v.kind = Kind::kSeq;
  v.seq = &seq;
  return v;
}

Seq* Heap::range(std::int64_t start, std::int64_t stop, std::int64_t step) {
  Seq& seq = seqs_.emplace_back();
  seq.kind = SeqKind::kRange;
  seq.start = start;
  seq.stop = stop;
  seq.step = step;
  return &seq;
}

Dict* Heap::dict() {
  charge(1);
  return &dicts_.emplace_back();
}

Value Heap::dict_value(const Dict* dict) {
  charge(1 + dict->entries.size());
  Value v;
  v.kind = Kind::kDict;
  v.dict = dict;
  return v;
}

Namespace* Heap::new_namespace() {
  charge(4);
  return &namespaces_.emplace_back();
}

Value Heap::callable(Callable callable) {
  charge(2);
  Value v;
  v.kind = Kind::kCallable;
  v.callable = &callables_.emplace_back(std::move(callable));
  return v;
}

Value Heap::cursor(Cursor cursor) {
  charge(2 + cursor.items.size());
  Value v;
  v.kind = Kind::kCursor;
  v.cursor = &cursors_.emplace_back(std::move(cursor));
  return v;
}

Value Heap::undefined(std::string why) {
  charge(1 + why.size() / kBytesPerOperation);
  Str str;
  str.bytes = std::move(why);
  Value v;
  v.str = &texts_.emplace_back(std::move(str));
  return v;
}

void TextBuilder::grow(std::uint64_t bytes) {
  if (bytes > heap_->max_text_bytes() || str_.bytes.size() + bytes > heap_->max_text_bytes()) {
    exhausted("text longer than the output limit");
  }
  unpaid_bytes_ += bytes;
  heap_->charge(unpaid_bytes_ / kBytesPerOperation);
  unpaid_bytes_ %= kBytesPerOperation;
}

void TextBuilder::mark(std::size_t begin, std::size_t end) {
  if (begin >= end) return;
  if (!str_.marks.empty() && str_.marks.back().end == begin) {
    str_.marks.back().end = end;
  } else {
    str_.marks.push_back({begin, end});
  }
}

void TextBuilder::add(std::string_view bytes, bool from_input) {
  grow(bytes.size());
  const std::size_t begin = str_.bytes.size();
  str_.bytes.append(bytes);
  if (from_input) mark(begin, str_.bytes.size());
}

void TextBuilder::add(const Str& text, std::size_t begin, std::size_t end) {
  if (begin >= end) return;
  grow(end - begin);
  const std::size_t at = str_.bytes.size();
  str_.bytes.append(text.bytes, begin, end - begin);
  auto it = std::lower_bound(text.marks.begin(), text.marks.end(), begin,
                             [](const TextSpan& span, std::size_t from) { return span.end <= from; });
  for (; it != text.marks.end() && it->begin < end; ++it) {
    mark(at + std::max(it->begin, begin) - begin, at + std::min(it->end, end) - begin);
  }
}

void TextBuilder::fill(std::string_view unit, std::uint64_t times, bool from_input) {
  if (unit.empty() || times == 0) return;
  if (times > heap_->max_text_bytes() / unit.size()) exhausted("text longer than the output limit");
  grow(times * unit.size());
  const std::size_t begin = str_.bytes.size();
  str_.bytes.reserve(begin + times * unit.size());
  for (std::uint64_t i = 0; i < times; ++i) str_.bytes.append(unit);
  if (from_input) mark(begin, str_.bytes.size());
}

Value TextBuilder::finish(bool markup) {
  str_.markup = markup;
  // Bytes were paid for while they were added; text() charges for keeping them.
  return heap_->text(std::move(str_));
}

Value substring(Heap& heap, const Str& text, std::size_t begin, std::size_t end) {
  if (begin == 0 && end == text.bytes.size()) return str_value(&text);
  TextBuilder out(heap);
  out.add(text, begin, end);
  return out.finish(text.markup);
}

}  // namespace foregate::jinja
