#include "tests/cuda_host/host_table.h"

#include "kernels/cuda/cuda_table.h"
#include "tests/gpu/waiting_ops.h"

namespace foregate::testing {

const OpTable& cuda_host_table() {
  static const OpTable table = waiting_ops(cuda_table());
  return table;
}

}  // namespace foregate::testing
