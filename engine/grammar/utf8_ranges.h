// A range of code points as the byte sequences that spell it in UTF-8. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/grammar/expr.h"

namespace foregate::grammar {

struct ByteRange {
  std::uint8_t low = 0;
  std::uint8_t high = 0;
};

struct ByteSequence {  // one range per byte
  std::array<ByteRange, 4> bytes = {};
  int length = 0;
};

// `range` holds no surrogates. Together the sequences spell exactly its characters.
void append_sequences(CodeRange range, std::vector<ByteSequence>& out);

}  // namespace foregate::grammar
