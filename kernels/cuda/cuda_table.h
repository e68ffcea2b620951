// The op table of the CUDA backend. Its ops take a CudaStream; pack_weight is empty: weights are packed on the host.
#pragma once

#include "kernels/api/op_table.h"

namespace foregate {

const OpTable& cuda_table();

}  // namespace foregate
