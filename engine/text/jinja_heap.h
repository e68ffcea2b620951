// Owner of every object one render makes, and keeper of its budgets: each object made is charged
// before it is built, so operations bound memory too. Objects live until the Heap dies, hence no
// reference cycles and no deep destructors. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja_value.h"

namespace foregate::jinja {

constexpr std::size_t kBytesPerOperation = 64;  // copying or scanning this much text costs one operation

class Heap {
 public:
  Heap(std::uint64_t operations, std::size_t max_text_bytes) : left_(operations), max_text_bytes_(max_text_bytes) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  void charge(std::uint64_t operations);
  // Call before building a text of `bytes`: checks the size cap and charges for it.
  void charge_text(std::uint64_t bytes);
  std::size_t max_text_bytes() const { return max_text_bytes_; }

  Value text(std::string bytes);  // made by the template: no marks
  Value text(Str str);
  Value list(std::vector<Value> items, SeqKind kind = SeqKind::kList);
  Seq* range(std::int64_t start, std::int64_t stop, std::int64_t step);
  Dict* dict();
  Value dict_value(const Dict* dict);
  Namespace* new_namespace();
  Value callable(Callable callable);
  Value cursor(Cursor cursor);
  Value undefined(std::string why);

 private:
  std::uint64_t left_;
  std::size_t max_text_bytes_;
  std::deque<Str> texts_;
  std::deque<Seq> seqs_;
  std::deque<Dict> dicts_;
  std::deque<Namespace> namespaces_;
  std::deque<Callable> callables_;
  std::deque<Cursor> cursors_;
};

// Builds marked text piece by piece under the Heap's caps.
class TextBuilder {
 public:
  explicit TextBuilder(Heap& heap) : heap_(&heap) {}
  void add(std::string_view bytes, bool from_input = false);
  void add(const Str& text) { add(text, 0, text.bytes.size()); }
  void add(const Str& text, std::size_t begin, std::size_t end);  // byte range, with its marks
  void fill(std::string_view unit, std::uint64_t times, bool from_input = false);
  std::size_t size() const { return str_.bytes.size(); }
  Value finish(bool markup = false);
  Str take() { return std::move(str_); }

 private:
  void grow(std::uint64_t bytes);
  void mark(std::size_t begin, std::size_t end);
  Heap* heap_;
  Str str_;
  std::uint64_t unpaid_bytes_ = 0;
};

// Byte range of a text as a new text.
Value substring(Heap& heap, const Str& text, std::size_t begin, std::size_t end);

}  // namespace foregate::jinja
