#include "engine/model/store_loader.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>

#include "engine/base/log.h"
#include "engine/experts/use_counters.h"
#include "engine/io/file.h"
#include "engine/io/read_queue.h"
#include "engine/model/cost_calibration.h"
#include "engine/model/sidecar_file.h"
#include "engine/model/unpacked_experts.h"

namespace foregate {
namespace {

// Which of the three matrices of its expert an item is, by where its copy would go.
void place_matrix(const WeightItem& item, std::uint64_t offset, const ExpertWeights& resident, ExpertExtent& extent) {
  const PackedWeight weight{nullptr, item.format, item.rows, item.cols};
  if (item.matrix == &resident.gate) {
    extent.shape.gate = weight;
    extent.gate_offset = offset;
  } else if (item.matrix == &resident.up) {
    extent.shape.up = weight;
    extent.up_offset = offset;
  } else {
    extent.shape.down = weight;
    extent.down_offset = offset;
  }
}

ExpertKey key_of(const WeightItem& item) {
  return {LayerId{item.layer}, ExpertId{item.expert}};
}

ExpertTable empty_table(const ModelConfig& config) {
  ExpertTable table;
  for (const LayerConfig& layer : config.layers) table.experts.push_back(layer.sparse ? config.router.experts : 0);
  table.extents.resize(ExpertNumbers(table.experts).size());
  table.top_k = config.router.top_k;
  return table;
}

constexpr const char* kCountersName = "expert-uses.bin";
constexpr std::uint64_t kMaxCountersBytes = std::uint64_t{64} << 20;

bool same_shape(const UseCounters& counters, const ExpertTable& table) {
  bool same = counters.rates.size() == table.experts.size();
  for (std::size_t i = 0; same && i < counters.rates.size(); ++i) {
    same = counters.rates[i].size() == static_cast<std::size_t>(table.experts[i]);
  }
  return same;
}

// What an earlier run left; nothing when there is none, or none of use.
UseCounters load_counters(const std::string& dir, const ExpertTable& table) {
  const std::string path = dir + "/" + kCountersName;
  if (!local_files().exists(path)) return {};
  auto text = read_text(local_files(), path, kMaxCountersBytes);
  auto counters = text.ok() ? read_use_counters(std::as_bytes(std::span(*text)), table.weights_id, path)
                            : Result<UseCounters>(text.status());
  if (counters.ok() && same_shape(*counters, table)) return std::move(counters).value();
  log_warn("the uses of experts that an earlier run counted are not taken: " +
           (counters.ok() ? path + " is of another model" : counters.status().message()));
  return {};
}

void save_counters(const std::string& dir, std::uint64_t weights_id, const UseCounters& counters) {
  const std::vector<std::byte> bytes = write_use_counters(counters, weights_id);
  if (const Status status = write_sidecar(dir, kCountersName, bytes); !status.ok())
    log_info("uses of experts are not kept: " + status.message());
}

// One unit of the packed files is one expert.
ExpertTable packed_table(const ModelConfig& config, const TensorIndex& index, const std::vector<WeightItem>& experts,
                         const ModelWeights& weights) {
  const PackedModel& packed = *index.packed();
  ExpertTable table = empty_table(config);
  const ExpertNumbers numbers(table.experts);
  for (const WeightItem& item : experts) {
    const PackedUnit& unit = packed.index().units[static_cast<std::size_t>(item.entry->unit)];
    ExpertExtent& extent = table.extents[numbers.at(key_of(item))];
    extent.file = &packed.file(unit);
    extent.offset = unit.offset;
    extent.bytes = unit.bytes;
    extent.checksum = unit.checksum;
    extent.piece = kPackedPiece;
    place_matrix(item, item.entry->offset - unit.offset, weights.experts.get(key_of(item)), extent);
  }
  table.keep = index.share_packed();
  table.weights_id = packed.index().weights_id();
  return table;
}

// Experts are put together when they are wanted.
ExpertTable unpacked_table(const ModelConfig& config, const TensorIndex& index, const std::vector<WeightItem>& experts,
                           const ModelWeights& weights, const OpTable& ops, Stream& stream) {
  ExpertTable table = empty_table(config);
  const ExpertNumbers numbers(table.experts);
  const auto source = std::make_shared<UnpackedExperts>(index, ops, stream);
  for (const WeightItem& item : experts) {
    ExpertExtent& extent = table.extents[numbers.at(key_of(item))];
    place_matrix(item, extent.bytes, weights.experts.get(key_of(item)), extent);
    extent.bytes += UnpackedExperts::aligned_bytes(item);
    source->add(item);
  }
  for (ExpertExtent& extent : table.extents)
    extent.bytes = (extent.bytes + kDirectPage - 1) / kDirectPage * kDirectPage;
  table.fill = [source](ExpertKey key, std::byte* to) { return source->fill(key, to); };
  return table;
}

// Costs that are not to be had are no reason not to serve.
void take_costs(const ExpertLoading& loading, const ExpertTable& table, const ModelConfig& config, Device& device,
                const OpTable& ops, Stream& stream, ModelWeights& weights) {
  if (!loading.costs || table.extents[0].file == nullptr) return;
  CalibrationOptions options;
  options.read_seconds = loading.costs->read_seconds;
  options.scratch_bytes = std::min(loading.costs->scratch_bytes, loading.store.budget_bytes);
  options.chunk_bytes = loading.store.transfer.chunk_bytes;
  options.depth = kExpertReadDepth;
  options.activation = config.activation;
  auto keeper =
      CostKeeper::open({.dir = loading.counters_dir, .machine = loading.costs->machine, .weights_id = table.weights_id},
                       [&] { return calibrate_costs(table, device, ops, stream, options); });
  if (!keeper.ok()) return log_warn("the costs of experts could not be measured: " + keeper.status().to_string());
  weights.costs = std::move(keeper).value();
}

// What a layer takes before any was measured: its dense weights and its experts, one row.
LinkTimes expected_times(const ModelWeights& weights, const ExpertTable& table) {
  if (!weights.costs) return {};
  const CostModel& costs = weights.costs->costs();
  const std::uint64_t bytes = table.bytes() / table.extents.size();
  const auto sparse =
      std::count_if(table.experts.begin(), table.experts.end(), [](int experts) { return experts > 0; });
  const double dense = static_cast<double>(weights.dense_step_bytes) / static_cast<double>(sparse);
  LinkTimes times;
  times.load = costs.load_seconds(1, bytes);
  times.idle = dense / costs.memory_bytes_per_second + costs.kernel_seconds(1, bytes, 1);
  times.layer = times.idle + costs.kernel_seconds(table.top_k - 1, bytes, 1);
  const double chunk = static_cast<double>(std::min(bytes, costs.chunk_bytes));
  const double alone = costs.table_bytes_per_second(chunk, 1);
  const double streamed = costs.table_bytes_per_second(chunk, costs.depth);
  if (alone > 0 && streamed > alone) times.start = chunk / alone - chunk / streamed;
  return times;
}

}  // namespace

std::function<void(const UseCounters&)> counters_saver(const ExpertLoading& loading, std::uint64_t weights_id) {
  if (!loading.warm || !loading.leave_counters || loading.counters_dir.empty() || weights_id == 0) return {};
  return [dir = loading.counters_dir, weights_id](const UseCounters& counters) {
    if (!counters.empty()) save_counters(dir, weights_id, counters);
  };
}

Status make_store(const ModelConfig& config, const TensorIndex& index, const std::vector<WeightItem>& experts,
                  Device& device, const OpTable& ops, Stream& stream, const ExpertLoading& loading,
                  const WeightProgress& progress, ModelWeights& weights) {
  if (experts.empty()) return invalid_argument("the model has no experts", "expert_memory");
  std::string why_not;
  std::unique_ptr<ReadQueue> queue = loading.queue ? loading.queue() : make_read_queue(kStreamReadDepth, why_not);
  ExpertTable table;
  if (index.packed() != nullptr) {
    if (!why_not.empty()) log_warn("experts are read by threads: " + why_not);
    table = packed_table(config, index, experts, weights);
  } else if (loading.background != nullptr) {
    log_warn(
        "the model is not packed: each expert is read in parts and converted whenever it is loaded; `foregate pack` "
        "makes that one read");
    table = unpacked_table(config, index, experts, weights, ops, *loading.background);
  } else {
    return invalid_argument("only a packed model can leave experts on disk: run `foregate pack MODEL OUT` first",
                            "expert_memory");
  }
  StoreOptions options = loading.store;
  if (options.transfer.depth == 0) options.transfer.depth = kExpertReadDepth;
  const bool announced = config.arch->router_source != RouterSource::kFfnInput;  // routes are known ahead
  options.read_prompts_ahead &= !announced;
  options.sweep &= !announced;
  if (loading.warm && !loading.counters_dir.empty() && table.weights_id != 0) {
    options.counters = load_counters(loading.counters_dir, table);
    if (!loading.tier) options.save = counters_saver(loading, table.weights_id);  // else it sees all uses
  }
  take_costs(loading, table, config, device, ops, stream, weights);
  options.expected = expected_times(weights, table);
  Device& memory = loading.memory != nullptr ? *loading.memory : device;
  ASSIGN_OR_RETURN(weights.store, ExpertStore::create(std::move(table), options, memory, std::move(queue)));
  return loading.warm ? weights.store->warm(progress) : Status();
}

}  // namespace foregate
