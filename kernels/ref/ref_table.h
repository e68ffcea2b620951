// The reference backend: the meaning of every op, slow and obvious, sums in double.
// It reads the packed layouts of kernels/api/quant.h, ignores its stream, and runs on the calling thread.
#pragma once

#include "kernels/api/op_table.h"

namespace foregate {

const OpTable& ref_table();

}  // namespace foregate
