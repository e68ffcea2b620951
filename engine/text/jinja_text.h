// Values as text: str(), repr() and JSON, as Python prints them. Parts that came from the client
// keep their marks.
#pragma once

#include <string>

#include "engine/text/jinja_heap.h"

namespace foregate::jinja {

struct JsonOptions {
  bool ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // one item per line
  std::string indent;
  std::string item_separator, key_separator;
};

void append_str(Heap& heap, TextBuilder& out, const Value& value);   // str(value)
void append_repr(Heap& heap, TextBuilder& out, const Value& value);  // repr(value)
Value to_str(Heap& heap, const Value& value);                        // the value itself when it is a string
Value to_json(Heap& heap, const Value& value, const JsonOptions& options);
std::string float_repr(double number);
std::string int_text(const Value& integer);

}  // namespace foregate::jinja
