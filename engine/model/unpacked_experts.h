// Experts of a model that is not packed, made one by one when a store wants them: read from wherever the checkpoint has
// their three matrices, packed into the layout of the kernels. More reads and more work than from a packed model, the
// same bytes. One thread at a time.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/expert_table.h"
#include "engine/model/weight_packer.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/tensor_index.h"
#include "kernels/api/op_table.h"

namespace foregate {

class UnpackedExperts {
 public:
  // `ops` and `stream` must outlive this; nobody else may use the stream.
  UnpackedExperts(const TensorIndex& index, const OpTable& ops, Stream& stream);
  void add(const WeightItem& item);  // a matrix of an expert; its targets are not used
  // Writes the matrices of `key` one behind the other, in the order in which they were added, each at a multiple of 64.
  // Errors name file and tensor.
  Status fill(ExpertKey key, std::byte* to);
  static std::uint64_t aligned_bytes(const WeightItem& item);

 private:
  TensorIndex index_;
  WeightPacker packer_;
  std::map<ExpertKey, std::vector<WeightItem>> items_;
};

}  // namespace foregate
