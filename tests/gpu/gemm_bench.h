// The rate of plain bf16 products by cuBLASLt, as the ceiling of prompts, and dense products of the table beside each
// other: by the kernels here and by the library, at the rows of decode batches and chunks.
#pragma once

#include "kernels/registry/gpu.h"

namespace foregate {

// Prints fields of a JSON object, each with a comma behind it: "bf16_gemm_tflops" (null without the library),
// "gemm_library" (its absence explained) and "linear_ways". `seconds` for a measurement; `small`: shapes for emulation.
// False when a stream failed.
bool print_gemms(const GpuChoice& gpu, double seconds, bool small);

}  // namespace foregate
