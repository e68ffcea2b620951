// Element types of tensors and the storage formats of packed weights.
// Plain enums and constants only: this header is included by code built for every ISA, so it
// holds no function that a linker could merge across differently compiled files.
#pragma once

#include <cstdint>

namespace foregate {

// The types from kQ8_0 to kFp8 are blocks of a row as GGUF files hold them (ggml's block_q8_0, block_q4_K, ...):
// codes and scales together, so they have a size per block and none per element. kFp8 is our own: an f32 scale and 128
// bytes of kF8E4M3 (OCP 8-bit floating point, E4M3: no infinities, NaN is 0x7f and 0xff). kI8 is of cached keys and
// values (args_attention.h).
enum class DType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kU8,
  kF8E4M3,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kMxfp4,
  kFp8,
  kI8,
};

// How a weight matrix is stored after packing (quant.h).
enum class WeightFormat : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kMxfp4,
  kFp8,
};
inline constexpr int kWeightFormats = 12;

// Bytes of one element of a scalar DType; 0 for block types.
constexpr int dtype_bytes(DType t) {
  switch (t) {
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kF16:
    case DType::kBF16: return 2;
    case DType::kI64: return 8;
    case DType::kU8:
    case DType::kI8:
    case DType::kF8E4M3: return 1;
    default: return 0;
  }
}

// Elements of a row in one block, and the bytes of that block: 1 and dtype_bytes for scalar types.
struct DTypeBlock {
  int elements;
  int bytes;
};
constexpr DTypeBlock dtype_block(DType t) {
  switch (t) {
    case DType::kQ8_0: return {32, 34};
    case DType::kQ4_0: return {32, 18};
    case DType::kQ4_1: return {32, 20};
    case DType::kQ5_0: return {32, 22};
    case DType::kQ4_K: return {256, 144};
    case DType::kQ5_K: return {256, 176};
    case DType::kQ6_K: return {256, 210};
    case DType::kMxfp4: return {32, 17};
    case DType::kFp8: return {128, 132};
    default: return {1, dtype_bytes(t)};
  }
}

// Bytes of a row of `elements`, which is a multiple of the block's elements.
constexpr std::int64_t dtype_row_bytes(DType t, std::int64_t elements) {
  const DTypeBlock block = dtype_block(t);
  return elements / block.elements * block.bytes;
}

constexpr const char* dtype_name(DType t) {
  switch (t) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kI64: return "i64";
    case DType::kI32: return "i32";
    case DType::kU8: return "u8";
    case DType::kI8: return "int8";
    case DType::kF8E4M3: return "f8_e4m3";
    case DType::kQ8_0: return "q8_0";
    case DType::kQ4_0: return "q4_0";
    case DType::kQ4_1: return "q4_1";
    case DType::kQ5_0: return "q5_0";
    case DType::kQ4_K: return "q4_k";
    case DType::kQ5_K: return "q5_k";
    case DType::kQ6_K: return "q6_k";
    case DType::kMxfp4: return "mxfp4";
    case DType::kFp8: return "fp8";
  }
  return "?";
}

// The type whose elements or blocks a format holds.
constexpr DType format_dtype(WeightFormat f) {
  switch (f) {
    case WeightFormat::kF32: return DType::kF32;
    case WeightFormat::kF16: return DType::kF16;
    case WeightFormat::kBF16: return DType::kBF16;
    case WeightFormat::kQ8_0: return DType::kQ8_0;
    case WeightFormat::kQ4_0: return DType::kQ4_0;
    case WeightFormat::kQ4_1: return DType::kQ4_1;
    case WeightFormat::kQ5_0: return DType::kQ5_0;
    case WeightFormat::kQ4_K: return DType::kQ4_K;
    case WeightFormat::kQ5_K: return DType::kQ5_K;
    case WeightFormat::kQ6_K: return DType::kQ6_K;
    case WeightFormat::kMxfp4: return DType::kMxfp4;
    case WeightFormat::kFp8: return DType::kFp8;
  }
  return DType::kF32;
}

// The format that holds a type's values unchanged; kF32 for integer types.
constexpr WeightFormat dtype_format(DType t) {
  for (int f = 0; f < kWeightFormats; ++f) {
    if (format_dtype(static_cast<WeightFormat>(f)) == t) return static_cast<WeightFormat>(f);
  }
  return WeightFormat::kF32;
}

}  // namespace foregate
