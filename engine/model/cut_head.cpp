#include "engine/model/cut_head.h"

#include <string>
#include <utility>
#include <vector>

#include "kernels/api/blocks.h"
#include "kernels/api/check.h"

namespace foregate {

Status cut_head(Transformer& model, std::span<const Token> tokens, bool quantize) {
  const PackedWeight whole = model.weights_->lm_head;
  if (!model.device_->host_visible()) return unimplemented("a head is cut on the CPU alone");
  const auto rows = static_cast<std::int64_t>(tokens.size());
  const bool fits = whole.cols % format_unit(WeightFormat::kQ8_0).cols == 0;
  const WeightFormat format = has_blocks(whole.format) || (quantize && fits) ? WeightFormat::kQ8_0 : whole.format;
  const std::int64_t bytes = packed_bytes(format, rows, whole.cols);
  Memory memory = model.device_->allocate(static_cast<std::size_t>(bytes));
  if (!memory) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of a head");
  std::vector<float> values(tokens.size() * static_cast<std::size_t>(whole.cols));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    CHECK(tokens[i] >= 0 && tokens[i] < whole.rows);
    unpack_row(whole, tokens[i], values.data() + i * static_cast<std::size_t>(whole.cols));
  }
  model.ops_.pack_weight(model.stream_, PackWeightArgs{.source = values.data(),
                                                       .source_type = DType::kF32,
                                                       .rows = rows,
                                                       .cols = whole.cols,
                                                       .format = format,
                                                       .packed = memory.data()});
  model.stream_.synchronize();
  model.weights_->lm_head = {memory.data(), format, rows, whole.cols};
  model.weights_->memory.push_back(std::move(memory));
  model.weights_->dense_step_bytes += bytes - packed_bytes(whole.format, whole.rows, whole.cols);
  model.config_.head_rows = static_cast<std::int32_t>(rows);
  return {};
}

}  // namespace foregate
