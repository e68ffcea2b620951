// A table whose ops wait for the device before they return, so that cases written for the CPU read their results at
// once.
#pragma once

#include "kernels/api/op_table.h"

namespace foregate::testing {

// Of one table at a time; pack_weight is ref's.
OpTable waiting_ops(const OpTable& ops);

}  // namespace foregate::testing
