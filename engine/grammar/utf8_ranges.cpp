#include "engine/grammar/utf8_ranges.h"

#include <string>

namespace foregate::grammar {
namespace {

// Both ends have the same length, and below the first byte that differs the range covers all continuation bytes.
ByteSequence sequence_of(CodeRange range) {
  std::string low, high;
  append_utf8(range.low, low);
  append_utf8(range.high, high);
  ByteSequence sequence;
  sequence.length = static_cast<int>(low.size());
  for (std::size_t i = 0; i < low.size(); ++i) {
    sequence.bytes[i] = {static_cast<std::uint8_t>(low[i]), static_cast<std::uint8_t>(high[i])};
  }
  return sequence;
}

// Where a range must be cut first: at a change of length, or where its ends are not whole runs of continuation bytes.
// 0: nowhere. The cut is the first code point of the second half.
std::uint32_t cut_of(CodeRange range) {
  for (const std::uint32_t edge : {0x80u, 0x800u, 0x10000u}) {
    if (range.low < edge && edge <= range.high) return edge;
  }
  if (range.high < 0x80) return 0;
  for (int bits = 6; bits <= 18; bits += 6) {
    const std::uint32_t mask = (1u << bits) - 1;
    if ((range.low & ~mask) == (range.high & ~mask)) continue;
    if ((range.low & mask) != 0) return (range.low | mask) + 1;
    if ((range.high & mask) != mask) return range.high & ~mask;
  }
  return 0;
}

}  // namespace

void append_sequences(CodeRange range, std::vector<ByteSequence>& out) {
  while (const std::uint32_t cut = cut_of(range)) {
    append_sequences({range.low, cut - 1}, out);  // the first part needs fewer cuts: a few levels at most
    range.low = cut;
  }
  out.push_back(sequence_of(range));
}

}  // namespace foregate::grammar
