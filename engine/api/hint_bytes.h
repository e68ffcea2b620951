// Bytes of experts that were loaded ahead of use. Plain figures; counters that never fall.
#pragma once

#include <cstdint>

namespace foregate {

// What was asked ends as one of the others, or was cancelled before it was read, or failed, or is not known yet.
struct HintBytes {
  std::uint64_t asked = 0;
  std::uint64_t useful = 0;  // there when a layer asked for it
  std::uint64_t late = 0;    // on its way then
  std::uint64_t wasted = 0;  // read, and the layer it was for did without it
};

inline HintBytes operator+(const HintBytes& a, const HintBytes& b) {
  return {a.asked + b.asked, a.useful + b.useful, a.late + b.late, a.wasted + b.wasted};
}

inline HintBytes operator-(const HintBytes& a, const HintBytes& b) {
  return {a.asked - b.asked, a.useful - b.useful, a.late - b.late, a.wasted - b.wasted};
}

}  // namespace foregate
