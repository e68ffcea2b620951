// The inner loops of machine_limits.h: reads that use every line once, and chains of multiply-adds in registers, one
// for each instruction set. Pure; a loop must not be run on a processor without its instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace foregate {

// Folds `bytes` bytes into one word; bytes is a multiple of kReadUnit and data is 64-byte aligned.
inline constexpr std::size_t kReadUnit = 256;
using ReadLoop = std::uint64_t (*)(const std::byte* data, std::size_t bytes);
ReadLoop best_read_loop();  // of this processor

// Runs `steps` steps from a small seed; the result only keeps the work from being dropped.
struct PeakLoop {
  float (*run)(std::int64_t steps, float seed);
  double macs_per_step;
};

// The densest int8 products of an instruction set: vpdpbusd for avx512 and avxvnni; for avx2 vpmaddubsw with sums in
// 16 bits widened once in eight steps; else pmaddwd over 16-bit operands (plain vectors off x86).
PeakLoop int8_peak_loop(std::string_view isa);
// Fused multiply-adds, or a multiply and an add where the generic table has no other.
PeakLoop f32_peak_loop(std::string_view isa);

}  // namespace foregate
