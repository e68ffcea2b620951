// The CUDA table over the emulator as tests use it: every op waits for the device before it returns, so that cases
// written for the CPU read their results at once. Errors of the stream fail the test.
#pragma once

#include "kernels/api/op_table.h"
#include "kernels/cuda/cuda_stream.h"

namespace foregate::testing {

// pack_weight is ref's.
const OpTable& cuda_host_table();

}  // namespace foregate::testing
