#include "engine/model/summary.h"

#include <algorithm>

#include "engine/model/dense_loader.h"
#include "kernels/api/args_attention.h"

namespace foregate {
namespace {

// How many of the item's rows one token uses, as a fraction used / of.
struct Share {
  std::int64_t used = 1;
  std::int64_t of = 1;
};

Share share_per_token(const ModelConfig& config, const WeightItem& item) {
  if (item.group == WeightGroup::kExperts) return {config.router.top_k, config.router.experts};
  // A token looks up one row of the embedding table; a tied table is the lm head as well.
  if (item.group == WeightGroup::kEmbedding && !config.tied_embeddings) return {1, item.rows};
  return {};
}

void add(GroupSize& size, const GroupSize& item) {
  size.tensors += item.tensors;
  size.parameters += item.parameters;
  size.active += item.active;
  size.file_bytes += item.file_bytes;
  size.packed_bytes += item.packed_bytes;
  size.read_per_token += item.read_per_token;
  size.stored.insert(item.stored.begin(), item.stored.end());
  size.packed.insert(item.packed.begin(), item.packed.end());
}

// Items of one group and layer are summed first, so that the shares divide exactly.
void close_run(const ModelConfig& config, const WeightItem& last, GroupSize& run, ModelSummary& summary) {
  const Share share = share_per_token(config, last);
  run.active = run.parameters * share.used / share.of;
  run.read_per_token = run.packed_bytes * share.used / share.of;
  if (last.group == WeightGroup::kExperts) {
    summary.expert_packed_bytes = std::max(summary.expert_packed_bytes, run.packed_bytes / share.of);
  }
  add(summary.groups[static_cast<std::size_t>(last.group)], run);
  run = {};
}

PackedFacts packed_facts(const PackedIndex& index, std::size_t layers) {
  const auto experts = std::count_if(index.units.begin(), index.units.end(),
                                     [](const PackedUnit& unit) { return unit.kind == PackedKind::kExpert; });
  std::uint64_t expert_bytes = 0;
  for (const PackedUnit& unit : index.units) expert_bytes += unit.kind == PackedKind::kExpert ? unit.bytes : 0;
  return {.layout = index.layout,
          .quantization = index.quantization,
          .weights_id = index.weights_id(),
          .data_bytes = index.data_bytes(),
          .units = index.units.size(),
          .experts = static_cast<std::size_t>(experts),
          .expert_bytes = expert_bytes,
          .layer_bytes = dense_layer_bytes(index, layers),
          .files = index.files};
}

}  // namespace

Result<ModelSummary> summarize(const OpenModel& model, const WeightPlanOptions& options) {
  ModelSummary summary;
  summary.config = model.config;
  ModelWeights weights;
  ASSIGN_OR_RETURN(const auto items, plan_weights(model.config, model.index, options, weights));
  GroupSize run;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const WeightItem& item = items[i];
    const std::int64_t parameters = item.rows * item.cols;
    ++run.tensors;
    run.parameters += parameters;
    run.file_bytes += source_bytes(item);
    run.packed_bytes += packed_bytes(item.format, item.rows, item.cols);
    if (item.matrix != nullptr || item.group == WeightGroup::kNorm) {
      run.stored.insert(item.stored ? storage_text(item.stored->rule) : dtype_name(source_type(item)));
      run.packed.insert(format_name(item.format));
    }
    if (item.matrix != nullptr && (is_quantized(item.format) || item.format == WeightFormat::kF16)) {
      summary.kv_type = DType::kF16;
    }
    const bool last = i + 1 == items.size() || items[i + 1].group != item.group || items[i + 1].layer != item.layer;
    if (last) close_run(summary.config, item, run, summary);
  }
  for (const GroupSize& group : summary.groups) add(summary.total, group);
  summary.kv_bytes_per_position = summary.kv_bytes_of(summary.kv_type);
  summary.shards = model.index.shards();
  if (model.index.packed() != nullptr)
    summary.packed = packed_facts(model.index.packed()->index(), summary.config.layers.size());
  return summary;
}

std::int64_t ModelSummary::kv_bytes_of(DType type) const {
  return static_cast<std::int64_t>(config.layers.size()) * 2 * config.kv_heads * kv_row_bytes(type, config.head_dim);
}

Result<ModelSummary> summarize(const FileSystem& files, const std::string& path, const WeightPlanOptions& options) {
  ASSIGN_OR_RETURN(const OpenModel model, open_model(files, path));
  return summarize(model, options);
}

}  // namespace foregate
