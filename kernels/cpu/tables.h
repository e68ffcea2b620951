// Accessors of the CPU tables, one per instruction set. Calling an op of a table the processor
// cannot run is an illegal instruction: ask kernels/cpu/isa.h first. Any thread.
#pragma once

#include "kernels/api/op_table.h"

namespace foregate {

const OpTable& cpu_generic_table();
#if defined(__x86_64__)
const OpTable& cpu_avx2_table();
const OpTable& cpu_avxvnni_table();
const OpTable& cpu_avx512_table();
#endif

}  // namespace foregate
