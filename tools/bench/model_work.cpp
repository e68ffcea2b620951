#include "tools/bench/model_work.h"

namespace foregate {

ModelWork model_work(const ModelConfig& config) {
  const double hidden = config.hidden_size;
  const double attention = hidden * (2.0 * config.q_width() + 2.0 * config.kv_width());
  ModelWork work;
  for (const LayerConfig& layer : config.layers) {
    const double ffn = 3.0 * hidden * layer.ffn_intermediate;
    work.row_macs += attention;
    if (!layer.sparse) {
      work.row_macs += ffn;
      continue;
    }
    work.row_macs += hidden * config.router.experts + config.router.top_k * ffn;
    if (config.shared_intermediate > 0) work.row_macs += hidden * (3.0 * config.shared_intermediate + 1.0);
  }
  work.logits_macs = hidden * config.vocab_size;
  return work;
}

WeightFormat main_format(const Transformer& model) {
  if (model.store() != nullptr) return model.store()->table().extents.front().shape.gate.format;
  for (std::size_t i = 0; i < model.config().layers.size(); ++i) {
    if (!model.config().layers[i].sparse) continue;
    return model.weights().experts.get({LayerId{static_cast<std::int32_t>(i)}, ExpertId{0}}).gate.format;
  }
  return model.weights().layers.front().dense.gate.format;
}

WeightBytes weight_bytes(const Transformer& model) {
  const std::int64_t loaded = model.weight_bytes();
  if (model.store() == nullptr) return {loaded, loaded};
  const auto slots = static_cast<std::int64_t>(model.store()->stats().slot_bytes);
  return {loaded - slots + static_cast<std::int64_t>(model.store()->table().bytes()), loaded};
}

std::vector<std::span<const std::byte>> weight_spans(const Transformer& model) {
  std::vector<std::span<const std::byte>> spans;
  for (const Memory& memory : model.weights().memory) spans.emplace_back(memory.data(), memory.bytes());
  return spans;
}

}  // namespace foregate
