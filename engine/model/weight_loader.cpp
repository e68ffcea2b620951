#include "engine/model/weight_loader.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <vector>

#include "engine/base/log.h"
#include "engine/model/weight_plan.h"
#include "engine/weights/int4_rows.h"
#include "kernels/api/blocks.h"

namespace foregate {
namespace {

constexpr std::int64_t kTransientBytes = 16 << 20;  // source bytes held at a time, where 16 rows fit
constexpr std::int64_t kAlignment = 64;

std::int64_t aligned_bytes(const WeightItem& item) {
  return (packed_bytes(item.format, item.rows, item.cols) + kAlignment - 1) / kAlignment * kAlignment;
}

class Loader {
 public:
  Loader(const TensorIndex& index, const OpTable& ops, Stream& stream, const WeightProgress& progress)
      : index_(index), ops_(ops), stream_(stream), progress_(progress) {}

  Status load(const std::vector<WeightItem>& items, Device& device, ModelWeights& weights);

 private:
  Status pack(const WeightItem& item, std::byte* packed);
  void order_rows(std::int64_t rows, std::int64_t head_rows, std::int64_t row_bytes);
  Status read(const WeightItem& item, std::optional<Int4Rows>& stored, std::int64_t row, std::int64_t rows);
  const float* widen(DType type, std::int64_t rows, std::int64_t cols);

  const TensorIndex& index_;
  const OpTable& ops_;
  Stream& stream_;
  const WeightProgress& progress_;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> ordered_;
  std::vector<float> widened_;
  std::int64_t rounded_scales_ = 0;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
};

// The rows of blocks in buffer_ as f32: for a router, or an expert of which another part is not quantized.
const float* Loader::widen(DType type, std::int64_t rows, std::int64_t cols) {
  widened_.resize(static_cast<std::size_t>(rows * cols));
  for (std::int64_t r = 0; r < rows; ++r) {
    dequantize_row(type, buffer_.data() + r * dtype_row_bytes(type, cols), cols, widened_.data() + r * cols);
  }
  return widened_.data();
}

// Rows of each head from rope pairs (0, d/2, 1, d/2 + 1, ...) to the order in which rope takes halves. Rows are whole
// blocks, so that moving them changes no value.
void Loader::order_rows(std::int64_t rows, std::int64_t head_rows, std::int64_t row_bytes) {
  ordered_.resize(buffer_.size());
  const std::int64_t half = head_rows / 2;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t at = row % head_rows;
    const std::int64_t from = row - at + 2 * (at % half) + at / half;
    std::memcpy(ordered_.data() + row * row_bytes, buffer_.data() + from * row_bytes,
                static_cast<std::size_t>(row_bytes));
  }
  buffer_.swap(ordered_);
}

// Fills buffer_ with rows of the item.
Status Loader::read(const WeightItem& item, std::optional<Int4Rows>& stored, std::int64_t row, std::int64_t rows) {
  const std::int64_t row_bytes = dtype_row_bytes(source_type(item), item.cols);
  buffer_.resize(static_cast<std::size_t>(rows * row_bytes));
  if (stored) return stored->read(row, rows, buffer_.data());
  return index_.read(*item.entry, item.begin + static_cast<std::uint64_t>(row * row_bytes), buffer_);
}

// Whole 16-row blocks are packed one after another, so the source is never held whole.
Status Loader::pack(const WeightItem& item, std::byte* packed) {
  const std::int64_t row_bytes = dtype_row_bytes(source_type(item), item.cols);
  // With paired rows, whole heads as well.
  const std::int64_t unit = std::lcm<std::int64_t>(kRowInterleave, std::max(item.paired_rows, 1));
  const std::int64_t step = std::min(item.rows, std::max(kTransientBytes / row_bytes / unit * unit, unit));
  std::optional<Int4Rows> stored;
  if (item.stored) {
    ASSIGN_OR_RETURN(stored, Int4Rows::open(index_, *item.stored));
    rounded_scales_ += stored->rounded_scales();
  }
  const std::uint64_t done_before = done_bytes_;
  for (std::int64_t row = 0; row < item.rows; row += step) {
    const std::int64_t rows = std::min(step, item.rows - row);
    RETURN_IF_ERROR(read(item, stored, row, rows));
    if (item.paired_rows > 0) order_rows(rows, item.paired_rows, row_bytes);
    PackWeightArgs args{.source = buffer_.data(),
                        .source_type = source_type(item),
                        .rows = rows,
                        .cols = item.cols,
                        .format = item.format,
                        .packed = packed + packed_bytes(item.format, row, item.cols)};
    if (is_quantized(dtype_format(args.source_type)) && !is_quantized(item.format)) {
      args.source = widen(args.source_type, rows, item.cols);
      args.source_type = DType::kF32;
    }
    ops_.pack_weight(stream_, args);
    stream_.synchronize();
    const std::int64_t bytes = source_bytes(item);
    const std::int64_t done = row + rows == item.rows ? bytes : bytes / item.rows * (row + rows);
    done_bytes_ = done_before + static_cast<std::uint64_t>(done);
    if (progress_) progress_(done_bytes_, total_bytes_);
  }
  if (item.matrix != nullptr) *item.matrix = PackedWeight{packed, item.format, item.rows, item.cols};
  // A packed f32 matrix of one column is the plain vector, padded with zeros (quant.h).
  if (item.vector != nullptr) *item.vector = reinterpret_cast<const float*>(packed);
  return {};
}

// One allocation per layer, one for what lies outside the layers.
Status Loader::load(const std::vector<WeightItem>& items, Device& device, ModelWeights& weights) {
  for (const WeightItem& item : items) total_bytes_ += static_cast<std::uint64_t>(source_bytes(item));
  for (std::size_t first = 0; first < items.size();) {
    std::size_t last = first;
    std::int64_t bytes = 0;
    while (last < items.size() && items[last].layer == items[first].layer) bytes += aligned_bytes(items[last++]);
    Memory memory = device.allocate(static_cast<std::size_t>(bytes));
    if (!memory) return resource_exhausted("no memory for " + std::to_string(bytes) + " bytes of weights");
    std::byte* packed = memory.data();
    weights.memory.push_back(std::move(memory));
    for (; first < last; ++first) {
      RETURN_IF_ERROR(pack(items[first], packed));
      packed += aligned_bytes(items[first]);
    }
  }
  if (rounded_scales_ > 0) {
    log_warn("weights: " + std::to_string(rounded_scales_) +
             " scales of quantized matrices were rounded to f16, which changes a weight by at most 2^-11 of it");
  }
  return {};
}

// What a step reads, for the bandwidth figures.
void count_step_bytes(const ModelConfig& config, const std::vector<WeightItem>& items, ModelWeights& weights) {
  weights.expert_bytes.assign(config.layers.size(), 0);
  for (const WeightItem& item : items) {
    const std::int64_t bytes = packed_bytes(item.format, item.rows, item.cols);
    if (item.group == WeightGroup::kExperts) {
      weights.expert_bytes[static_cast<std::size_t>(item.layer)] += bytes;
    } else if (item.group != WeightGroup::kEmbedding || config.tied_embeddings) {
      weights.dense_step_bytes += bytes;
    }
  }
  for (std::int64_t& bytes : weights.expert_bytes) bytes /= std::max(config.router.experts, 1);
}

}  // namespace

Result<std::unique_ptr<ModelWeights>> load_weights(const ModelConfig& config, const TensorIndex& index, Device& device,
                                                   const OpTable& ops, Stream& stream, const WeightPlanOptions& options,
                                                   const WeightProgress& progress) {
  auto weights = std::make_unique<ModelWeights>();
  ASSIGN_OR_RETURN(const auto items, plan_weights(config, index, options, *weights));
  Loader loader(index, ops, stream, progress);
  RETURN_IF_ERROR(loader.load(items, device, *weights));
  count_step_bytes(config, items, *weights);
  if (config.tied_embeddings) weights->lm_head = weights->embedding;
  return weights;
}

}  // namespace foregate
