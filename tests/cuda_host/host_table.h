// The CUDA table over the emulator as tests use it: every op waits for the device before it returns.
#pragma once

#include "kernels/api/op_table.h"
#include "kernels/cuda/cuda_stream.h"

namespace foregate::testing {

const OpTable& cuda_host_table();

}  // namespace foregate::testing
