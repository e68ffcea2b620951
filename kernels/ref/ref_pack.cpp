#include "kernels/ref/ref_pack.h"

#include <cstring>

#include "kernels/api/block_parts.h"
#include "kernels/api/check.h"

namespace foregate::ref {
namespace {

// Byte and bits of column j of row `lane` inside the code arrays of a group.
void put_code(DType type, std::uint8_t* codes, int lane, int j, std::uint8_t code) {
  const int chunk = j / 4;
  const int at = 4 * lane + j % 4;
  if (type == DType::kQ8_0) {
    codes[64 * chunk + at] = code;
    return;
  }
  codes[64 * (chunk % 4) + at] |= static_cast<std::uint8_t>((code & 15) << (chunk < 4 ? 0 : 4));
  std::uint8_t* high = codes + 256;
  if (type == DType::kQ5_0 || type == DType::kQ5_K) {
    high[at] |= static_cast<std::uint8_t>(code >> 4 << chunk);
  } else if (type == DType::kQ6_K) {
    high[64 * (chunk / 4) + at] |= static_cast<std::uint8_t>(code >> 4 << 2 * (chunk % 4));
  }
}

void pack_fp8(const std::uint8_t* rows, int count, std::int64_t units, std::uint8_t* packed) {
  const DTypeBlock block = dtype_block(DType::kFp8);
  const FormatUnit unit = format_unit(WeightFormat::kFp8);
  for (std::int64_t u = 0; u < units; ++u) {
    for (int lane = 0; lane < count; ++lane) {
      const std::uint8_t* from = rows + (lane * units + u) * block.bytes;
      std::uint8_t* to = packed + u * unit.bytes;
      for (int i = 0; i < 4; ++i) to[4 * lane + i] = from[i];
      for (int j = 0; j < unit.cols; ++j) to[64 + j * kRowInterleave + lane] = from[4 + j];
    }
  }
}

}  // namespace

void pack_block(WeightFormat format, const std::byte* rows, int count, std::int64_t cols, std::byte* packed) {
  const DType type = format_dtype(format);
  const DTypeBlock block = dtype_block(type);
  const FormatUnit unit = format_unit(format);
  CHECK(has_blocks(format) && cols % unit.cols == 0 && count >= 0 && count <= kRowInterleave);
  const std::int64_t units = cols / unit.cols;
  std::memset(packed, 0, static_cast<std::size_t>(units * unit.bytes));
  if (format == WeightFormat::kFp8) {
    return pack_fp8(reinterpret_cast<const std::uint8_t*>(rows), count, units, reinterpret_cast<std::uint8_t*>(packed));
  }
  const UnitLayout layout(format);
  for (std::int64_t u = 0; u < units; ++u) {
    std::uint8_t* to = reinterpret_cast<std::uint8_t*>(packed) + u * unit.bytes;
    for (int lane = 0; lane < count; ++lane) {
      const std::uint8_t* from =
          reinterpret_cast<const std::uint8_t*>(rows) + lane * dtype_row_bytes(type, cols) + u * block.bytes;
      const Factors factors = read_factors(type, from);
      if (layout.header > 0) std::memcpy(to + 2 * lane, &factors.d, 2);
      if (layout.has_m) std::memcpy(to + 32 + 2 * lane, &factors.m, 2);
      for (int g = 0; g < layout.groups; ++g) {
        Group group;
        read_group(type, from, g, group);
        std::uint8_t* part = to + layout.header + g * layout.group_bytes;
        for (int s = 0; s < layout.small_scales; ++s) part[kRowInterleave * s + lane] = group.scale[s];
        std::uint8_t* codes = part + kRowInterleave * layout.small_scales;
        for (int j = 0; j < kQuantGroup; ++j) put_code(type, codes, lane, j, group.codes[j]);
      }
    }
  }
}

}  // namespace foregate::ref
