// The CPU table for any processor: baseline flags, no FMA.
// Everything but the accessor lives in an unnamed namespace, and no std:: template is used: nothing
// compiled with this file's flags can be linked into code for another processor (tools/check_isa).
#include <cstddef>
#include <cstdint>

#include "kernels/api/blocks.h"
#include "kernels/api/check.h"
#include "kernels/api/quantize.h"
#include "kernels/cpu/cpu_stream.h"
#include "kernels/cpu/tables.h"

#define FOREGATE_INLINE inline __attribute__((always_inline))

namespace foregate {
namespace {

// The order of these files is the order of their dependencies.
// clang-format off
#include "kernels/cpu/vec_types.inl"
#include "kernels/cpu/vec_generic.inl"
#include "kernels/cpu/quant_generic.inl"
#include "kernels/cpu/algorithms.inl"
// clang-format on

}  // namespace

const OpTable& cpu_generic_table() {
  return kTable;
}

}  // namespace foregate
