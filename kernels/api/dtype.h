// Element types of tensors and the storage formats of packed weights.
// Plain enums and constants only: this header is included by code built for every ISA, so it
// holds no function that a linker could merge across differently compiled files.
#pragma once

#include <cstdint>

namespace foregate {

enum class DType : std::uint8_t { kF32, kF16, kBF16, kI64, kI32, kU8 };

// How a weight matrix is stored after packing. Quantized formats are added here.
enum class WeightFormat : std::uint8_t { kF32, kF16, kBF16 };

// Bytes of one element of a DType.
constexpr int dtype_bytes(DType t) {
  return t == DType::kF32 || t == DType::kI32 ? 4 : t == DType::kI64 ? 8 : t == DType::kU8 ? 1 : 2;
}

constexpr const char* dtype_name(DType t) {
  switch (t) {
    case DType::kF32: return "f32";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kI64: return "i64";
    case DType::kI32: return "i32";
    case DType::kU8: return "u8";
  }
  return "?";
}

}  // namespace foregate
