#include "engine/runtime/boot.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "engine/base/log.h"
#include "engine/io/file.h"
#include "engine/kv/block_pool.h"
#include "engine/model/model_source.h"
#include "engine/model/summary.h"
#include "engine/model/transformer.h"
#include "engine/runtime/boot_options.h"
#include "engine/runtime/cache_report.h"
#include "engine/runtime/cost_report.h"
#include "engine/runtime/device_memory.h"
#include "engine/runtime/device_report.h"
#include "engine/runtime/draft_boot.h"
#include "engine/runtime/elastic_boot.h"
#include "engine/runtime/engine_parts.h"
#include "engine/runtime/expert_boot.h"
#include "engine/runtime/kv_blocks.h"
#include "engine/runtime/machine_name.h"
#include "engine/runtime/memory_budget.h"
#include "engine/runtime/memory_plan.h"
#include "engine/runtime/model_text.h"
#include "engine/runtime/rank_boot.h"
#include "engine/runtime/route_trace.h"
#include "engine/runtime/step_sizes.h"
#include "engine/runtime/tier_report.h"
#include "engine/spec/spec_config.h"
#include "kernels/registry/gpu.h"
#include "kernels/registry/registry.h"

namespace foregate {
namespace {

void tell(const BootOptions& options, std::string_view stage, double fraction) {
  if (options.progress) options.progress(stage, fraction);
}

// Members in the order in which they depend on one another: the last goes first.
struct LoadedModel {
  Backend host;  // packs weights when `backend` is a GPU
  Backend backend;
  Backend background;                    // one thread, for experts that are converted when they are loaded
  std::shared_ptr<PageSource> pages;     // of blocks and experts that share a budget
  std::unique_ptr<PinnedMemory> pinned;  // of the store, in front of which a GPU is
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Stream> host_stream;
  std::unique_ptr<Stream> background_stream;
  std::unique_ptr<const OpTable> ops;
  std::unique_ptr<const OpTable> host_ops;  // of `host`
  std::unique_ptr<RouteTrace> trace;
  std::unique_ptr<RankTeam> ranks;  // null: this is the only one
  std::unique_ptr<Transformer> model;
  ModelInfo info;
  BootReport report;
  GenerationDefaults defaults;
  std::optional<ElasticSplit> elastic;
  std::int64_t kept_for_cache = 0;  // bytes that --expert-memory auto left for the KV cache
};

Result<std::int32_t> choose_model_len(const ModelConfig& config, std::int32_t asked) {
  if (asked == 0) return config.max_positions;
  if (asked <= config.max_positions) return asked;
  return invalid_argument("max_model_len is " + std::to_string(asked) + ", the model was made for at most " +
                              std::to_string(config.max_positions) + " positions",
                          "max_model_len");
}

GenerationDefaults defaults_of(const SamplingDefaults& sampling) {
  GenerationDefaults defaults;
  defaults.temperature = sampling.temperature;
  defaults.top_k = sampling.top_k;
  defaults.top_p = sampling.top_p;
  defaults.min_p = sampling.min_p;
  defaults.repetition_penalty = sampling.repetition_penalty;
  return defaults;
}

// A cache of experts below one token's worth of them can hit only by luck.
void report_experts(const BootOptions& options, const ModelConfig& config, LoadedModel& loaded) {
  const ExpertStore* store = loaded.model->store();
  if (store == nullptr) {
    const std::string way = loaded.ranks ? loaded.ranks->transport_text() : "";
    loaded.report.experts = "all in memory" + ranks_text(options) + (way.empty() ? "" : ", rows " + way);
    return;
  }
  const StoreStats stats = store->stats();
  const auto sparse = std::count_if(config.layers.begin(), config.layers.end(), [](const auto& l) { return l.sparse; });
  const auto cycle = static_cast<std::uint64_t>(sparse * config.router.top_k);
  char text[200];
  std::snprintf(text, sizeof text, "%llu of %zu in memory (%.3f GB), policy %s, read by %s",
                static_cast<unsigned long long>(stats.slots), store->table().extents.size(),
                static_cast<double>(stats.slot_bytes) * 1e-9, std::string(store->policy().name()).c_str(),
                std::string(store->queue_name()).c_str());
  loaded.report.experts = text + ranks_text(options);
  log_info("experts: " + loaded.report.experts);
  if (options.metrics != nullptr) {
    options.metrics
        ->gauge("moe_expert_reads_by_threads", "1: experts are read by threads, io_uring was refused",
                {{"model_name", loaded.report.model_name}})
        .set(store->queue_name() == "threads" ? 1.0 : 0.0);
  }
  if (stats.slots < cycle) {
    log_warn("--expert-memory holds " + std::to_string(stats.slots) + " experts, one token needs " +
             std::to_string(cycle) + ": most will be read from disk for every token");
  }
}

void report_dense(LoadedModel& loaded) {
  loaded.report.dense = "all in memory";
  const auto figures = loaded.model->dense_figures();
  if (!figures) return;
  char text[160];
  std::snprintf(text, sizeof text, "%llu of %llu layers pass through %.3f GB, the others are in memory",
                static_cast<unsigned long long>(figures->layers_streamed),
                static_cast<unsigned long long>(figures->layers), static_cast<double>(figures->slot_bytes) * 1e-9);
  loaded.report.dense = text;
  log_info("dense weights: " + loaded.report.dense);
}

void describe(const ModelSummary& summary, LoadedModel& loaded) {
  const std::string device = loaded.backend.device->describe();
  loaded.info.architecture = summary.config.arch->class_name;
  loaded.info.parameters = summary.total.parameters;
  loaded.info.active_parameters = summary.total.active;
  loaded.info.vocab_size = summary.config.vocab_size;
  loaded.info.eos_token_ids = summary.config.eos;
  loaded.info.device = device;
  loaded.defaults = defaults_of(summary.config.sampling);
  loaded.report.isa = loaded.backend.isa;
  loaded.report.threads = loaded.backend.threads;
  loaded.report.device = device;
  loaded.report.backend_reason = loaded.backend.reason;
  loaded.report.fallbacks = loaded.backend.fallbacks;
}

Result<WeightPlanOptions> plan_options(const BootOptions& options) {
  WeightPlanOptions plan;
  if (options.quantization == "none") return plan;
  plan.quantization = quantization_named(options.quantization);
  if (!plan.quantization) return invalid_argument("must be none, q8_0, q4_0 or q4_k", "quantization");
  return plan;
}

// Log and figures of a load; a page cache in the way is a fallback, so it is said.
void report_load(const BootOptions& options, LoadedModel& loaded) {
  const ModelWeights& weights = loaded.model->weights();
  const double seconds = loaded.report.load_seconds;
  loaded.report.weights = weights.how_loaded;
  char text[80];
  std::snprintf(text, sizeof text, "weights: %.3f GB in %.2f s, ",
                static_cast<double>(loaded.model->weight_bytes()) * 1e-9, seconds);
  log_info(text + weights.how_loaded);
  if (weights.page_cache) log_warn(options.model + ": the file system refuses O_DIRECT");
  if (options.metrics == nullptr) return;
  const Labels labels = {{"model_name", loaded.report.model_name}};
  options.metrics->gauge("foregate_load_seconds", "Seconds it took to load the weights", labels).set(seconds);
  options.metrics
      ->gauge("foregate_weights_page_cache", "1: a packed model was read through the page cache, O_DIRECT was refused",
              labels)
      .set(weights.page_cache ? 1.0 : 0.0);
}

// Before the first step, so that a replay knows where the store began.
Status start_trace(const BootOptions& options, const ModelConfig& config, LoadedModel& loaded) {
  if (options.trace_routes.empty()) return {};
  if (config.router.experts == 0) return invalid_argument("the model has no experts to trace", "trace_routes");
  const std::string& name = loaded.report.model_name;
  ASSIGN_OR_RETURN(loaded.trace,
                   RouteTrace::create(options.trace_routes, trace_info(name, config, loaded.model->weights()),
                                      options.metrics, name));
  loaded.model->set_route_sink(loaded.trace.get());
  return {};
}

// What a GPU cannot do yet.
const char* for_cpu_only(const BootOptions& options) {
  if (options.expert_parallel_size > 1 && options.device != "cuda")
    return "--expert-parallel-size, --device cuda takes it";
  if (options.dense_memory != "all") return "--dense-memory leaves weights on disk";
  if (options.kv_type == DType::kI8) return "--kv-cache-dtype int8";
  return kEvictAtRelease ? "built so that no expert stays in memory" : nullptr;
}

// Of the device that computes, where blocks and experts share a budget.
Result<std::shared_ptr<PageSource>> pages_of(const BootOptions& options, Device* gpu) {
  if (gpu == nullptr || options.elastic_bytes == 0) return std::shared_ptr<PageSource>(make_host_pages());
  std::string error;
  std::shared_ptr<PageSource> pages = gpu->create_pages(&error);
  if (pages == nullptr) return unimplemented("--elastic-memory: " + error, "elastic_memory");
  return pages;
}

Status hold_pages(const BootOptions& options, PageSource& pages) {
  if (pages.hold(static_cast<std::size_t>(options.elastic_bytes))) return {};
  return resource_exhausted("--elastic-memory: the device has no " + std::to_string(options.elastic_bytes) +
                            " bytes of memory left");
}

// A CPU backend, and before it a GPU when one is asked for, or is there and nothing speaks against it.
Status choose_backends(const BootOptions& options, LoadedModel& loaded) {
  std::string error;
  loaded.backend = make_backend({.isa = options.isa, .threads = options.threads}, &error);
  if (loaded.backend.device == nullptr) return invalid_argument(error, "isa");
  if (options.expert_parallel_size > 1 && options.threads == 0) {  // the ranks share the cores
    const int share = std::max(1, loaded.backend.threads / ranks_sharing_cores(options));
    loaded.backend = make_backend({.isa = options.isa, .threads = share}, &error);
  }
  BootReport& report = loaded.report;
  report.device_reason = "--device cpu";
  if (options.device == "cpu") return {};
  if (const char* why = for_cpu_only(options)) {
    if (options.device == "cuda") return unimplemented(std::string("--device cuda: ") + why, "device");
    report.device_reason = std::string("cpu: ") + why;
    return {};
  }
  Backend gpu = make_gpu_backend({.module = options.cuda_module, .library_rows = options.cublaslt_rows}, &error);
  if (gpu.device == nullptr) {
    if (options.device == "cuda") return unavailable("--device cuda: " + error);
    report.device_reason = "cpu: " + error;
    return {};
  }
  report.device_reason = (options.device == "cuda" ? "--device cuda: " : "cuda: ") + gpu.reason;
  gpu.threads = loaded.backend.threads;
  loaded.host = std::move(loaded.backend);
  loaded.host_stream = loaded.host.device->create_stream();
  loaded.host_ops = std::make_unique<const OpTable>(loaded.host.ops);
  loaded.backend = std::move(gpu);
  return {};
}

// Of the host, with a GPU what that leaves to it.
Result<MemoryPlan> memory_of(const BootOptions& options, const DevicePlan* gpu, const RankPlan& ranks,
                             const ModelSummary& summary, std::int64_t available) {
  if (gpu != nullptr && gpu->tiers) {
    return MemoryPlan{.expert_bytes = gpu->host_bytes, .kept_for_cache = gpu->kept_for_cache};
  }
  BootOptions planned = options;
  if (gpu != nullptr) planned.expert_memory = planned.dense_memory = "all";
  if (ranks.placement)
    planned.expert_memory = ranks.expert_bytes.empty() ? "all" : std::to_string(ranks.expert_bytes[0]);
  ASSIGN_OR_RETURN(MemoryPlan plan, plan_memory(planned, summary, available));
  if (gpu != nullptr) plan.kept_for_cache = gpu->kept_for_cache;
  return plan;
}

// The stream with what its products need, the budget that blocks and experts share, and what of the model a GPU gets.
Result<DevicePlan> plan_device(const BootOptions& options, const ModelSummary& summary, std::int64_t available,
                               LoadedModel& loaded) {
  Device& device = *loaded.backend.device;
  const bool on_gpu = loaded.host.device != nullptr;
  loaded.stream = device.create_stream();
  RETURN_IF_ERROR(plan_products(options, summary.config, *loaded.stream));
  const DeviceMemory memory{device.free_bytes(), device.total_bytes()};
  const std::int64_t usable = on_gpu ? usable_bytes(memory, options.gpu_memory_utilization) : available;
  ASSIGN_OR_RETURN(loaded.pages, pages_of(options, on_gpu ? &device : nullptr));
  ASSIGN_OR_RETURN(loaded.elastic, plan_elastic_split(options, summary, *loaded.pages, usable));
  DevicePlan plan;
  if (on_gpu) {
    const ElasticSplit* const elastic = loaded.elastic ? &*loaded.elastic : nullptr;
    ASSIGN_OR_RETURN(plan, plan_device_memory(options, summary, memory, available, elastic));
  }
  RETURN_IF_ERROR(hold_pages(options, *loaded.pages));
  return plan;
}

Result<LoadedModel> load_model(const BootOptions& options, const OpenModel& model) {
  const Clock& clock = options.clock != nullptr ? *options.clock : system_clock();
  const TimeNs start = clock.now();
  tell(options, "weights", 0.0);
  ASSIGN_OR_RETURN(const WeightPlanOptions plan, plan_options(options));
  ASSIGN_OR_RETURN(const ModelSummary summary, summarize(model, plan));
  LoadedModel loaded;
  RETURN_IF_ERROR(choose_backends(options, loaded));
  const bool on_gpu = loaded.host.device != nullptr;
  const std::int64_t available = available_memory();
  loaded.report.model_name = options.model_name.empty() ? model_name(options.model) : options.model_name;
  ASSIGN_OR_RETURN(const RankPlan ranks, plan_ranks(options, summary));
  ASSIGN_OR_RETURN(const DevicePlan on_device, plan_device(options, summary, available, loaded));
  BootOptions shared = options;
  if (loaded.elastic && !on_gpu) shared.expert_memory = std::to_string(loaded.elastic->expert_bytes);
  ASSIGN_OR_RETURN(const MemoryPlan memory,
                   memory_of(shared, on_gpu ? &on_device : nullptr, ranks, summary, available));
  ASSIGN_OR_RETURN(loaded.ranks, start_ranks(options, ranks, loaded.backend.threads, loaded.backend.cores,
                                             loaded.report.model_name, on_gpu ? loaded.backend.device.get() : nullptr));
  loaded.kept_for_cache = memory.kept_for_cache;
  ASSIGN_OR_RETURN(loaded.info.max_model_len, choose_model_len(summary.config, options.max_model_len));
  LoadOptions load;
  load.max_batched_tokens = options.max_num_batched_tokens;
  load.weights = plan;
  load.verify_weights = options.verify_weights;
  load.collect_steps = !options.enforce_eager;
  load.ranks = loaded.ranks.get();
  ASSIGN_OR_RETURN(load.exchange, exchange_mode_named(options.exchange));
  ASSIGN_OR_RETURN(load.overlap, overlap_mode_named(options.exchange_overlap));
  if (on_gpu) load.packing = {loaded.host.device.get(), loaded.host_ops.get(), loaded.host_stream.get()};
  if (memory.dense_bytes) load.dense = {.budget_bytes = *memory.dense_bytes, .verify = options.verify_weights};
  if (memory.expert_bytes) {
    const Backend& host = on_gpu ? loaded.host : loaded.backend;
    load.experts = expert_loading(options, *memory.expert_bytes, available, machine_name(host.isa, host.threads));
    if (on_gpu) {
      loaded.pinned = std::make_unique<PinnedMemory>(*loaded.backend.device, *loaded.host.device);
      load.experts->tier = on_device.tier;
      load.experts->memory = loaded.pinned.get();
    }
    ASSIGN_OR_RETURN(load.lookahead, lookahead_options(options));
    share_store(ranks, *load.experts);
    if (loaded.elastic && !on_gpu) load.experts->store.elastic = loaded.elastic->slots;
    if (!summary.packed) {
      std::string error;
      loaded.background = make_backend({.isa = options.isa, .threads = 1}, &error);
      loaded.background_stream = loaded.background.device->create_stream();
      load.experts->background = loaded.background_stream.get();
    }
  }
  load.progress = [&options](std::uint64_t done, std::uint64_t total) {
    tell(options, "weights", total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total));
  };
  // The model keeps a reference to the table, so the table must not move from here on.
  loaded.ops = std::make_unique<const OpTable>(loaded.backend.ops);
  ASSIGN_OR_RETURN(loaded.model, load_transformer(model, *loaded.backend.device, *loaded.ops, *loaded.stream, load));
  describe(summary, loaded);
  loaded.report.kv_type = options.kv_type.value_or(summary.kv_type);
  if (loaded.ranks) RETURN_IF_ERROR(loaded.ranks->wait_serving());
  loaded.report.load_seconds = seconds_between(start, clock.now());
  report_load(options, loaded);
  report_device(options, *loaded.backend.device, loaded.report);
  report_experts(options, summary.config, loaded);
  report_dense(loaded);
  loaded.report.tiers = tier_text(loaded.model->tier_figures());
  if (loaded.model->costs() != nullptr) {
    report_costs(*loaded.model->costs(), loaded.model->costs_measured(), loaded.report.model_name, options.metrics);
  }
  RETURN_IF_ERROR(start_trace(options, summary.config, loaded));
  return loaded;
}

// With what the options leave open filled in.
Result<BootOptions> settle(const BootOptions& options, const OpenModel& model) {
  if (options.max_num_seqs > 0 && options.max_num_batched_tokens > 0) return options;
  ASSIGN_OR_RETURN(const WeightPlanOptions plan, plan_options(options));
  ASSIGN_OR_RETURN(const ModelSummary summary, summarize(model, plan));
  return with_step_sizes(options, summary.config, available_memory());
}

class BootedModelImpl final : public BootedModel {
 public:
  explicit BootedModelImpl(LoadedModel loaded) : loaded_(std::move(loaded)) {}
  Model& model() override { return *loaded_.model; }
  Device& device() override { return *loaded_.backend.device; }
  const ModelInfo& info() const override { return loaded_.info; }
  const BootReport& report() const override { return loaded_.report; }

 private:
  LoadedModel loaded_;
};

class BootedEngineImpl final : public BootedEngine {
 public:
  BootedEngineImpl(LoadedModel loaded, ModelText text)
      : loaded_(std::move(loaded)),
        model_(*loaded_.model),
        board_(loaded_.model->expert_board()),
        text_(std::move(text)) {}

  Status start(const BootOptions& options, bool fit_sequences);
  Engine& engine() override { return *engine_; }
  std::shared_ptr<const Tokenizer> tokenizer() const override { return text_.tokenizer; }
  std::shared_ptr<const ChatTemplate> chat_template() const override { return text_.chat_template; }
  const std::string& bos_token() const override { return text_.config.bos_token; }
  const std::string& eos_token() const override { return text_.config.eos_token; }
  const GenerationDefaults& generation_defaults() const override { return loaded_.defaults; }
  const BootReport& report() const override { return loaded_.report; }
  std::shared_ptr<ExpertBoard> expert_board() const override { return board_; }
  Model& model() override { return model_; }
  Device& device() override { return *loaded_.backend.device; }

 private:
  LoadedModel loaded_;  // its model belongs to the engine once that is started
  Model& model_;
  std::shared_ptr<ExpertBoard> board_;
  ModelText text_;
  std::unique_ptr<Engine> engine_;
};

// Slots of experts that nothing was loaded into yet: their memory is given out, but does not count as used.
std::int64_t empty_slot_bytes(const Transformer& model) {
  if (model.store() == nullptr || model.tier() != nullptr) return 0;
  const StoreStats stats = model.store()->stats();
  return static_cast<std::int64_t>(stats.slot_bytes - std::min(stats.slot_bytes, stats.transfer.bytes));
}

// `fit_sequences`: their number is what the KV cache takes, max_num_seqs at most.
Status BootedEngineImpl::start(const BootOptions& options, bool fit_sequences) {
  tell(options, "kv cache", 0.0);
  const KvLayout layout = cache_layout(loaded_.model->config(), options, loaded_.report.kv_type);
  BootReport& report = loaded_.report;
  EngineParts parts;
  DraftHost host{*loaded_.backend.device,    *loaded_.ops,       *loaded_.stream, {}, loaded_.info.vocab_size,
                 loaded_.info.max_model_len, loaded_.model.get()};
  if (loaded_.host.device)
    host.packing = {loaded_.host.device.get(), loaded_.host_ops.get(), loaded_.host_stream.get()};
  RETURN_IF_ERROR(choose_drafter(options, host, parts.speculation, report.speculation));
  KvBudget budget;
  budget.num_blocks = options.num_blocks;
  budget.kv_cache_bytes = options.kv_cache_bytes;
  const Device& device = *loaded_.backend.device;
  const std::int64_t available =
      device.host_visible() ? available_memory()
                            : usable_bytes({device.free_bytes(), device.total_bytes()}, options.gpu_memory_utilization);
  if (!device.host_visible()) budget.share = 1.0;
  if (available > 0) budget.available_bytes = std::max<std::int64_t>(available - empty_slot_bytes(*loaded_.model), 1);
  report.available_bytes = budget.available_bytes;
  budget.kept_bytes = loaded_.kept_for_cache;
  budget.block_bytes = layout.block_bytes();
  budget.block_size = options.block_size;
  budget.max_num_seqs =
      fit_sequences ? full_length_sequences(options.max_num_seqs, loaded_.info.max_model_len) : options.max_num_seqs;
  budget.max_model_len = loaded_.info.max_model_len;
  KvCache cache;
  if (loaded_.elastic) {
    ASSIGN_OR_RETURN(cache, make_elastic_cache(*loaded_.elastic, *loaded_.backend.device, layout));
    parts.elastic = loaded_.elastic->parts;
    report_cache(options, layout, {parts.elastic.present_blocks, 0}, report);
    report.num_blocks = cache.num_blocks();
  } else {
    ASSIGN_OR_RETURN(const KvBlocks blocks, choose_kv_blocks(budget, layout,
                                                             {.rows = options.max_num_batched_tokens,
                                                              .max_num_seqs = options.max_num_seqs,
                                                              .prefix_caching = options.prefix_caching}));
    ASSIGN_OR_RETURN(cache, KvCache::create(*loaded_.backend.device, layout, blocks.main, blocks.window));
    if (device.host_visible()) take_memory(cache, fit_sequences);
    report_cache(options, layout, blocks, report);
  }
  tell(options, "kv cache", 1.0);
  report_step_sizes(options, loaded_.info.max_model_len, fit_sequences, report);

  parts.model = std::move(loaded_.model);
  parts.device = loaded_.backend.device.get();
  parts.cache = std::move(cache);
  ASSIGN_OR_RETURN(parts.options, engine_options(options, report));
  parts.info = loaded_.info;
  parts.limits.max_model_len = loaded_.info.max_model_len;
  parts.limits.vocab_size = loaded_.info.vocab_size;
  parts.clock = options.clock;
  parts.metrics = options.metrics;
  ASSIGN_OR_RETURN(engine_, make_engine(std::move(parts)));
  return {};
}

}  // namespace

Result<std::unique_ptr<BootedModel>> boot_model(const BootOptions& asked) {
  RETURN_IF_ERROR(check_boot_options(asked));
  ASSIGN_OR_RETURN(OpenModel opened, open_model(local_files(), asked.model));
  opened.gguf = {};
  ASSIGN_OR_RETURN(const BootOptions options, settle(asked, opened));
  ASSIGN_OR_RETURN(LoadedModel loaded, load_model(options, opened));
  return std::unique_ptr<BootedModel>(new BootedModelImpl(std::move(loaded)));
}

Result<std::unique_ptr<BootedEngine>> boot_engine(const BootOptions& asked) {
  RETURN_IF_ERROR(check_boot_options(asked));
  ASSIGN_OR_RETURN(OpenModel opened, open_model(local_files(), asked.model));
  ASSIGN_OR_RETURN(const BootOptions options, settle(asked, opened));
  // Text first: it is quick to read and most often what a model lacks.
  tell(options, "tokenizer", 0.0);
  ASSIGN_OR_RETURN(ModelText text, load_model_text(local_files(), opened));
  opened.gguf = {};
  tell(options, "tokenizer", 1.0);
  ASSIGN_OR_RETURN(LoadedModel loaded, load_model(options, opened));
  if (text.tokenizer->vocab_size() > loaded.info.vocab_size) {
    log_warn("the tokenizer has ids up to " + std::to_string(text.tokenizer->vocab_size() - 1) +
             ", the model's vocab_size is " + std::to_string(loaded.info.vocab_size) +
             ": prompts with ids beyond it are refused");
  }
  auto booted = std::make_unique<BootedEngineImpl>(std::move(loaded), std::move(text));
  RETURN_IF_ERROR(booted->start(options, asked.max_num_seqs == 0));
  tell(options, "ready", 1.0);
  return std::unique_ptr<BootedEngine>(std::move(booted));
}

}  // namespace foregate
