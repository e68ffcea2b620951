// Text without a form before one that has it: what a model thinks before it answers. Pure.
#pragma once

#include <string>
#include <string_view>

#include "engine/grammar/expr.h"

namespace foregate::grammar {

// Free text up to and with the mark `close`, then the form. With `open` it may be left out, and begins with that.
struct FreeStart {
  std::string open;
  std::string close;  // ASCII; empty: nothing may come before the form
};

// Any text that ends with `mark` and has it nowhere before: the automaton of Knuth, Morris and Pratt (SIAM J. Comput.
// 1977) as rules.
ExprId text_until(std::string_view mark, Grammar& grammar);

// Puts a free start before the root of the grammar.
void allow_before(const FreeStart& start, Grammar& grammar);

}  // namespace foregate::grammar
