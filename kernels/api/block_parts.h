// The parts of a block of each type, code by code: the slow meaning on which dequantizing, unpacking and the reference
// packer agree. Private to kernels/api and kernels/ref; pure, any thread.
#pragma once

#include <cstdint>

#include "kernels/api/dtype.h"
#include "kernels/api/quant.h"

namespace foregate {

inline constexpr int kSuperBlock = 256;  // elements of a k-quant block

// One group of 32 columns of one row, in the packed code domain.
struct Group {
  std::uint8_t codes[kQuantGroup] = {};
  std::uint8_t scale[2] = {};  // k-quants: scale and minimum, or two scales (q6_k); mxfp4: the exponent
};

// Group `group` of the block at `block`.
void read_group(DType type, const std::uint8_t* block, int group, Group& out);

// Halves of d and the second factor (m, dmin) of a block; 0 where the type has none.
struct Factors {
  std::uint16_t d = 0;
  std::uint16_t m = 0;
};
Factors read_factors(DType type, const std::uint8_t* block);

// Scale and minimum of group j of q4_k and q5_k: eight pairs of 6 bits in twelve bytes.
void scale_and_min(const std::uint8_t* packed, int j, std::uint8_t (&out)[2]);

// Where the parts of a packed unit lie.
struct UnitLayout {
  explicit UnitLayout(WeightFormat format);
  int header;        // f16 factors of 16 rows: d, then m
  int small_scales;  // bytes per row and group
  bool has_m;
  int groups;
  int group_bytes;
};

}  // namespace foregate
