#include "engine/model/transformer.h"

#include "engine/model/attention.h"
#include "engine/model/dense_ffn.h"
#include "engine/model/device_experts.h"
#include "engine/model/forward_check.h"
#include "engine/model/moe_offload.h"
#include "engine/model/moe_resident.h"
#include "engine/model/moe_tiered.h"
#include "engine/model/nextn.h"
#include "engine/model/rank_experts.h"
#include "engine/model/routing.h"
#include "engine/model/row_ops.h"
#include "engine/model/step.h"

namespace foregate {
namespace {

constexpr std::int32_t kMaxBatchedTokens = 1 << 18;

// Logits of the wanted rows alone: gather them, then the vocabulary projection.
void project_logits(const Step& step, const PackedWeight& lm_head, View2<float> logits) {
  const std::int64_t cols = step.config.hidden_size;
  const View2<float> wanted{step.scratch.delta, logits.rows, cols, cols};
  step.ops.gather_rows(step.stream,
                       GatherRowsArgs{.x = step.block_in(), .rows = step.input.logit_rows.data(), .out = wanted});
  step.ops.linear(step.stream, LinearArgs{.weight = lm_head,
                                          .bias = nullptr,
                                          .x = {wanted.data, wanted.rows, wanted.cols, wanted.stride},
                                          .y = logits});
}

}  // namespace

Transformer::Transformer(ModelConfig config, std::unique_ptr<ModelWeights> weights, StepScratch scratch,
                         std::int32_t max_batched_tokens, const OpTable& ops, Stream& stream)
    : config_(std::move(config)),
      weights_(std::move(weights)),
      tally_(config_),
      drafts_(config_),
      scratch_(std::move(scratch)),
      max_batched_tokens_(max_batched_tokens),
      rope_frequencies_(rope_frequencies_of(config_)),
      ops_(ops),
      stream_(stream) {
  for (const LayerConfig& layer : config_.layers) sparse_layers_ += layer.sparse ? 1 : 0;
}

// INV-13: no op below looks at how many rows or sequences there are to choose how a row is computed.
Status Transformer::forward(const ForwardInput& input, KvCache& cache, View2<float> logits) {
  RETURN_IF_ERROR(check_forward(config_, max_batched_tokens_, input, cache, logits));
  if (input.tokens.empty()) return {};
  const Step step{.config = config_,
                  .ops = ops_,
                  .stream = stream_,
                  .scratch = scratch_,
                  .input = input,
                  .rows = static_cast<std::int64_t>(input.tokens.size()),
                  .number = steps_++,
                  .tally = board_->watched() ? &tally_ : nullptr,
                  .tap = tap_ ? &*tap_ : nullptr,
                  .drafts = input.drafted.empty() ? nullptr : &drafts_,
                  .routes = routes_ ? &*routes_ : nullptr,
                  .host_routes = tap_.has_value() || !device_routes()};

  if (exchange_) exchange_->begin_step(weights_->store.get());
  if (travel_) travel_->begin_step(step, cache);
  if (step.tally != nullptr) tally_.begin_step();
  drafts_.forget();
  if (step.drafts != nullptr) drafts_.begin(step);
  std::int64_t bytes = weights_->dense_step_bytes;
  load_ropes(config_, rope_frequencies_, input.positions, scratch_, stream_);
  const bool row_each = input.tokens.size() == input.seqs.size();
  if (collect_steps_ && !step.host_routes && row_each) stream_.collect();
  begin_rows(step);
  const bool travels = travel_ && travel_->takes(step);
  ASSIGN_OR_RETURN(const std::int64_t expert_bytes, travels     ? travel_->run(step, cache)
                                                    : exchange_ ? run_shared_layers(step, cache)
                                                                : run_layers(step, cache));
  bytes += expert_bytes;
  if (travel_) travel_->end_step();
  const bool last_norm = !input.logit_rows.empty() || !input.hidden_out.empty();
  if (last_norm && !travels) add_and_norm(step, weights_->final_norm, false);
  if (!input.hidden_out.empty()) bring_hidden(step);
  if (!input.logit_rows.empty()) RETURN_IF_ERROR(compute_logits(step, logits));
  std::vector<std::int32_t> distinct;
  if (!step.host_routes) {
    distinct.resize(config_.layers.size());
    stream_.download(distinct.data(), scratch_.distinct_experts, distinct.size() * sizeof(std::int32_t));
  }
  stream_.synchronize();
  for (std::size_t i = 0; i < distinct.size(); ++i) {
    if (config_.layers[i].sparse) bytes += distinct[i] * weights_->expert_bytes[i];
  }
  if (const char* failed = failure()) return unavailable(std::string("the device failed: ") + failed);
  if (weights_->costs) weights_->costs->observe(weights_->store->stats().transfer, sparse_layers_);
  bytes_read_.fetch_add(static_cast<std::uint64_t>(bytes), std::memory_order_relaxed);
  return {};
}

// The residual stream before the first layer.
void Transformer::begin_rows(const Step& step) {
  const bool nextn = weights_->nextn.join.data != nullptr;
  ops_.embed(stream_, EmbedArgs{.table = weights_->embedding,
                                .tokens = step.input.tokens.data(),
                                .out = step.view(nextn ? scratch_.delta : scratch_.hidden, config_.hidden_size)});
  if (nextn) join_rows(step, weights_->nextn, reinterpret_cast<float*>(nextn_rows_.data()));
}

void Transformer::bring_hidden(const Step& step) {
  const float* from = weights_->nextn.join.data != nullptr ? scratch_.hidden : scratch_.normed;
  stream_.download(step.input.hidden_out.data(), from, step.input.hidden_out.size() * sizeof(float));
}

// With experts of other ranks. What a step takes is measured where that decides which way the next ones go.
Result<std::int64_t> Transformer::run_shared_layers(const Step& step, KvCache& cache) {
  const bool can_halve = halves_ && HalfSteps::can_take(step);
  const OverlapMode way =
      overlap_choice_ ? overlap_choice_->next(step.rows, exchange_->may_cut(step.rows), can_halve) : overlap_;
  const bool halved = way == OverlapMode::kHalves && can_halve;
  exchange_->take(halved ? OverlapMode::kOff : way);
  const TimeNs begin = overlap_choice_ ? system_clock().now() : 0;
  Result<std::int64_t> bytes = halved ? halves_->run(step, cache) : run_layers(step, cache);
  if (!overlap_choice_ || !bytes.ok()) return bytes;
  StepSpent took = exchange_->spent();
  took.rows = static_cast<double>(step.rows);
  took.total = static_cast<double>(system_clock().now() - begin);
  overlap_choice_->took(took, halved ? way : exchange_->ran());
  const auto [trials, spared] = overlap_choice_->take_trials();
  exchange_->ranks().count({.overlap_trials = trials, .overlap_trials_spared = spared});
  return bytes;
}

Result<std::int64_t> Transformer::run_layers(const Step& step, KvCache& cache) {
  std::int64_t bytes = 0;
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(config_.layers.size()); ++i) {
    if (weights_->dense) RETURN_IF_ERROR(weights_->dense->begin(LayerId{i}));
    Result<std::int64_t> expert_bytes = run_layer(step, LayerId{i}, cache);
    if (weights_->dense) {
      stream_.synchronize();  // the layer's weights end here
      weights_->dense->end(LayerId{i});
    }
    if (!expert_bytes.ok()) return expert_bytes.status();
    bytes += *expert_bytes;
  }
  return bytes;
}

void Transformer::foresee(std::span<const Token> tokens) {
  if (weights_->store && lookahead_) lookahead_->foresee(tokens, *weights_->store, weights_->tier.get());
}

void Transformer::drafts_stood(std::span<const std::int32_t> stood, std::span<const std::int32_t> places) {
  if (drafts_.sequences() == 0 || BUG_IF(stood.size() != drafts_.sequences())) return;
  if (!places.empty() && BUG_IF(!drafts_.take_places(places))) return;
  if (tap_) tap_->tell_stood(drafts_.rows_that_stood(stood));
  drafts_.each_stood(stood, [this](const DraftRoutes::Stood& one) { count_stood(one); });
  drafts_.forget();
}

// The store behind a device is told of what the device lacked; that of a rank, of the experts that it computed.
void Transformer::count_stood(const DraftRoutes::Stood& stood) {
  if (board_->watched()) {
    if (stood.begins) tally_.begin_step();
    tally_.stood(stood.use, stood.found);
  }
  if (exchange_) exchange_->stood(stood);
  if (!weights_->store) return;
  if (weights_->tier) {
    weights_->tier->count(stood.use);
  } else if (!exchange_) {
    return weights_->store->count(stood.use);
  }
  std::vector<std::int32_t> experts;
  std::vector<std::int32_t> rows;
  for (std::size_t i = 0; i < stood.use.experts.size(); ++i) {
    if (stood.on_tier[i] != 0 || stood.owners[i] != 0) continue;
    experts.push_back(stood.use.experts[i]);
    rows.push_back(stood.use.rows[i]);
  }
  LayerUse missed = stood.use;
  missed.experts = experts;
  missed.rows = rows;
  if (!experts.empty() || !exchange_) weights_->store->count(missed);
}

void Transformer::show_experts() {
  if (!board_->asked()) return;
  const bool routed = tap_.has_value() || !device_routes();
  board_->answer(tally_.map(*weights_, steps_, routed, device_ == nullptr || device_->host_visible()));
}

// Where a GPU is in front of the store, what a load costs depends on where its expert is: nothing is told then.
void Transformer::keep_routes() {
  if (weights_->store && !weights_->tier) routes_.emplace(config_);
}

std::span<const std::int32_t> Transformer::last_experts(std::uint64_t request) const {
  return routes_ ? routes_->of(request) : std::span<const std::int32_t>();
}

std::span<const std::uint8_t> Transformer::resident_experts() {
  if (!routes_) return {};
  resident_.resize(weights_->store->table().extents.size());
  for (std::size_t i = 0; i < resident_.size(); ++i) {
    resident_[i] = weights_->store->held(routes_->key(static_cast<std::int32_t>(i))) ? 1 : 0;
  }
  return resident_;
}

// Bytes of the experts that it used.
Result<std::int64_t> Transformer::run_layer(const Step& step, LayerId id, KvCache& cache) {
  const auto number = static_cast<std::size_t>(id.value);
  const LayerConfig& layer = config_.layers[number];
  const LayerWeights& weights = weights_->layers[number];
  add_and_norm(step, weights.attention_norm, id.value == 0);
  if (layer.sparse && route_before_attention(step, id, weights)) announce(step, id, scratch_.route);
  run_attention(step, weights.attention, layer, cache.pages(id));
  add_and_norm(step, weights.ffn_norm, false);
  if (layer.sparse) {
    ASSIGN_OR_RETURN(const int experts, run_moe(step, id));
    return experts * weights_->expert_bytes[number];
  }
  if (route_next_layer(step, id, weights_->layers)) announce(step, LayerId{id.value + 1}, scratch_.next_route);
  run_dense_ffn(step, weights.dense, step.block_out());
  return 0;
}

const char* Transformer::failure() const {
  if (const char* failed = stream_.failure()) return failed;
  return weights_->tier ? weights_->tier->failure() : nullptr;
}

// Whether every sparse layer's experts are in a table that the device reads.
bool Transformer::device_routes() const {
  if (weights_->device_experts.empty()) return false;
  for (std::size_t i = 0; i < config_.layers.size(); ++i) {
    if (config_.layers[i].sparse && weights_->device_experts[i].experts == 0) return false;
  }
  return true;
}

bool Transformer::samples() const {
  return ops_.sample != nullptr && device_ != nullptr && !device_->host_visible();
}

// `logits` is host memory: where the host does not see the device's, they are computed there, and brought where the
// device does not choose the token itself.
Status Transformer::compute_logits(const Step& step, View2<float> logits) {
  if (device_ == nullptr || device_->host_visible()) {
    project_logits(step, weights_->lm_head, logits);
    return {};
  }
  RETURN_IF_ERROR(make_logit_room(logits.rows));
  const View2<float> there{reinterpret_cast<float*>(device_logits_.data()), logits.rows, logits.cols, logits.cols};
  const View2<const float> computed{there.data, there.rows, there.cols, there.stride};
  project_logits(step, weights_->lm_head, there);
  if (step.input.rules.empty()) {
    bring_logits(step, computed, logits);
    return {};
  }
  auto* const tokens = reinterpret_cast<std::int32_t*>(device_tokens_.data());
  ops_.sample(stream_, SampleArgs{.logits = computed, .rules = step.input.rules.data(), .tokens = tokens});
  bring_logits(step, computed, logits);
  stream_.download(step.input.sampled.data(), tokens, step.input.sampled.size() * sizeof(Token));
  return {};
}

Status Transformer::make_logit_room(std::int64_t rows) {
  const std::size_t bytes = static_cast<std::size_t>(rows * config_.vocab_size) * sizeof(float);
  if (device_logits_.bytes() >= bytes) return {};
  device_logits_ = Memory();
  device_tokens_ = Memory();
  device_logits_ = device_->allocate(bytes);
  device_tokens_ = device_->allocate(static_cast<std::size_t>(rows) * sizeof(Token));
  if (device_logits_ && device_tokens_) return {};
  device_logits_ = Memory();
  return resource_exhausted("no device memory for " + std::to_string(bytes) + " bytes of logits");
}

void Transformer::bring_logits(const Step& step, View2<const float> from, View2<float> logits) {
  for (std::int64_t row = 0; row < logits.rows; ++row) {
    if (!step.input.rules.empty() && step.input.rules[static_cast<std::size_t>(row)].wanted) continue;
    step.stream.download(logits.data + row * logits.stride, from.data + row * from.stride,
                         static_cast<std::size_t>(logits.cols) * sizeof(float));
  }
}

void Transformer::set_route_sink(RouteSink* sink) {
  tap_.reset();
  if (sink != nullptr) tap_.emplace(*sink);
}

Result<int> Transformer::run_moe(const Step& step, LayerId id) {
  if (exchange_) {
    Result<int> ran = exchange_->run(step, id, *weights_);
    if (ran.ok() && travel_) travel_->observe(step, id);
    return ran;
  }
  if (weights_->tier) return run_moe_tiered(step, id, *weights_, host_.get(), lookahead_.get());
  if (weights_->store) return run_moe_offload(step, id, *weights_, *weights_->store, lookahead_.get());
  return run_moe_resident(step, id, *weights_);
}

void Transformer::announce(const Step& step, LayerId id, const ExpertRoute& route) {
  if (weights_->store && lookahead_) lookahead_->announce(step, id, route, *weights_->store, weights_->tier.get());
}

KvLayout kv_layout_of(const ModelConfig& config, DType type, std::int32_t block_size) {
  KvLayout layout;
  layout.type = type;
  layout.block_size = block_size;
  for (const LayerConfig& layer : config.layers) {
    layout.layers.push_back({.kind = layer.window > 0 ? KvKind::kSlidingWindow : KvKind::kFull,
                             .kv_heads = config.kv_heads,
                             .head_dim = config.head_dim,
                             .window = layer.window});
  }
  return layout;
}

std::optional<ExpertFigures> Transformer::expert_figures() const {
  if (!weights_->store) return std::nullopt;
  const StoreStats stats = weights_->store->stats();
  const LookaheadStats guesses = lookahead_ ? lookahead_->stats() : LookaheadStats{};
  return ExpertFigures{.hits = stats.hits,
                       .misses = stats.misses,
                       .late = stats.late,
                       .evictions = stats.evictions,
                       .loads = stats.transfer.loads,
                       .loaded_bytes = stats.transfer.bytes,
                       .load_retries = stats.transfer.retries,
                       .load_failures = stats.transfer.failures,
                       .hints = stats.hints,
                       .hints_useful = stats.hints_useful,
                       .hints_wasted = stats.hints_wasted,
                       .token_hints = stats.token_hints,
                       .token_hints_useful = stats.token_hints_useful,
                       .token_hints_wasted = stats.token_hints_wasted,
                       .token_guesses = guesses.token_guesses,
                       .token_guesses_right = guesses.token_guesses_right,
                       .certain = stats.certain,
                       .certain_right = stats.certain_right,
                       .certain_hints = stats.certain_hints,
                       .certain_useful = stats.certain_useful,
                       .certain_late = stats.certain_late,
                       .hint_bytes = stats.hint_bytes,
                       .certain_bytes = stats.certain_bytes,
                       .ahead = stats.ahead,
                       .ahead_useful = stats.ahead_useful,
                       .ahead_late = stats.ahead_late,
                       .ahead_wasted = stats.ahead_wasted,
                       .sweeps = stats.sweeps,
                       .repeated_loads = stats.repeated_loads,
                       .guesses = guesses.guesses,
                       .guesses_right = guesses.right,
                       .guesses_right_plain = guesses.right_plain,
                       .mixed_guesses = guesses.mixed_guesses,
                       .policy = weights_->store->policy().figures(),
                       .stall_seconds = stats.stall_seconds,
                       .read_seconds = stats.transfer.busy_seconds,
                       .slots = stats.slots,
                       .slots_used = stats.slots_used,
                       .slot_bytes = stats.slot_bytes,
                       .costed_read_rate = costs() != nullptr ? costs()->observed_bytes_per_second : 0.0};
}

std::optional<TierFigures> Transformer::tier_figures() const {
  if (!weights_->tier) return std::nullopt;
  const DeviceTierStats stats = weights_->tier->stats();
  return TierFigures{.hits = stats.hits,
                     .misses = stats.misses,
                     .fetched = stats.fetched,
                     .fetched_bytes = stats.fetched_bytes,
                     .host_computed = stats.host_computed,
                     .host_seconds = host_ ? host_->seconds() : 0.0,
                     .evictions = stats.evictions,
                     .ahead = stats.ahead,
                     .ahead_useful = stats.ahead_useful,
                     .ahead_wasted = stats.ahead_wasted,
                     .slots = stats.slots,
                     .slots_used = stats.slots_used,
                     .slot_bytes = stats.slot_bytes,
                     .link_bytes_per_second = stats.link_bytes_per_second,
                     .staged = stats.staged};
}

std::optional<DenseFigures> Transformer::dense_figures() const {
  if (!weights_->dense) return std::nullopt;
  const DenseStats stats = weights_->dense->stats();
  return DenseFigures{.layers = stats.layers,
                      .layers_streamed = stats.layers_streamed,
                      .ready = stats.ready,
                      .late = stats.late,
                      .loads = stats.transfer.loads,
                      .loaded_bytes = stats.transfer.bytes,
                      .load_retries = stats.transfer.retries,
                      .load_failures = stats.transfer.failures,
                      .stall_seconds = stats.stall_seconds,
                      .slot_bytes = stats.slot_bytes};
}

std::int64_t Transformer::weight_bytes() const {
  std::int64_t bytes = 0;
  for (const Memory& memory : weights_->memory) bytes += static_cast<std::int64_t>(memory.bytes());
  if (weights_->store) bytes += static_cast<std::int64_t>(weights_->store->stats().slot_bytes);
  if (weights_->tier) bytes += static_cast<std::int64_t>(weights_->tier->stats().slot_bytes);
  if (weights_->dense) bytes += static_cast<std::int64_t>(weights_->dense->stats().slot_bytes);
  return bytes;
}

Result<std::unique_ptr<Transformer>> load_transformer(const OpenModel& model, Device& device, const OpTable& ops,
                                                      Stream& stream, const LoadOptions& options) {
  if (options.max_batched_tokens <= 0 || options.max_batched_tokens > kMaxBatchedTokens) {
    return invalid_argument("must lie between 1 and " + std::to_string(kMaxBatchedTokens), "max_batched_tokens");
  }
  if (!device.host_visible() && (!options.packing || (options.experts && !options.experts->tier) || options.dense)) {
    return unimplemented("dense weights on disk and packing of weights are for the host");
  }
  if (options.ranks != nullptr) RETURN_IF_ERROR(check_shared_experts(model.config, options, device));
  const DeviceTarget target{device, stream};
  const LoadPacking here = options.packing ? *options.packing : LoadPacking{&device, &ops, &stream};
  ASSIGN_OR_RETURN(
      auto weights,
      load_weights(model.config, model.index, *here.device, *here.ops, *here.stream, options.weights, options.progress,
                   options.verify_weights, options.experts ? &*options.experts : nullptr,
                   options.dense ? &*options.dense : nullptr, device.host_visible() ? nullptr : &target,
                   options.ranks != nullptr ? weights_of_rank(options.ranks->plan(), options.experts.has_value())
                                            : WeightFilter{}));
  if (!device.host_visible() && ops.moe_ffn != nullptr && !weights->store && options.ranks == nullptr) {
    RETURN_IF_ERROR(make_device_experts(model.config, device, stream, *weights));
  }
  ASSIGN_OR_RETURN(StepScratch scratch, StepScratch::create(model.config, options.max_batched_tokens, device));
  std::unique_ptr<Lookahead> lookahead;
  // Where all experts have a slot nothing is gained by guessing, and the routers of the guesses take their time.
  const auto has_all = [](const auto& of, std::size_t experts) { return !of || of->stats().slots == experts; };
  const std::size_t experts = weights->store ? weights->store->table().extents.size() : 0;
  const bool all = weights->store && has_all(weights->store, experts) && has_all(weights->tier, experts);
  const bool stays = (!weights->store || !weights->store->elastic()) && (!weights->tier || !weights->tier->elastic());
  const bool vain = all && stays && options.lookahead.mode == LookaheadMode::kAuto &&
                    model.config.arch->router_source == RouterSource::kFfnInput;
  // Nor are experts of other ranks loaded ahead.
  const bool wanted = options.lookahead.mode != LookaheadMode::kOff && options.ranks == nullptr;
  if (weights->store && wanted && !vain) {
    ASSIGN_OR_RETURN(lookahead, Lookahead::create(model.config, options.lookahead, device));
  }
  auto transformer = std::make_unique<Transformer>(model.config, std::move(weights), std::move(scratch),
                                                   options.max_batched_tokens, ops, stream);
  transformer->set_lookahead(std::move(lookahead));
  transformer->device_ = &device;
  transformer->collect_steps_ = options.collect_steps;
  RETURN_IF_ERROR(transformer->prepare_host_experts(options));
  if (options.ranks != nullptr) {
    std::unique_ptr<DeviceExchange> rows;
    if (!device.host_visible()) {
      ASSIGN_OR_RETURN(rows, DeviceExchange::create(model.config, options.max_batched_tokens,
                                                    options.ranks->plan().ranks(), device));
    }
    transformer->exchange_ = std::make_unique<MoeExchange>(model.config, options.max_batched_tokens, *options.ranks,
                                                           options.overlap, std::move(rows), options.least_part_bytes);
  }
  if (options.ranks != nullptr && options.exchange != ExchangeMode::kTwoAllToAlls) {
    transformer->travel_ =
        std::make_unique<RowTravel>(transformer->config_, *transformer->weights_, transformer->scratch_, ops, stream,
                                    *transformer->exchange_, options.exchange);
  }
  const bool stays_in_memory = !transformer->weights_->store && !transformer->weights_->dense && !transformer->travel_;
  if (options.ranks != nullptr && takes_halves(options.overlap) && stays_in_memory) {
    transformer->halves_ =
        std::make_unique<HalfSteps>(transformer->config_, *transformer->weights_, transformer->scratch_,
                                    options.max_batched_tokens, *transformer->exchange_);
  }
  transformer->overlap_ = options.overlap;
  if (options.ranks != nullptr && options.overlap == OverlapMode::kAuto) transformer->overlap_choice_.emplace();
  return transformer;
}

// Where a tier may leave experts to the host.
Status Transformer::prepare_host_experts(const LoadOptions& options) {
  if (!weights_->tier || !options.packing) return {};
  const DeviceTierOptions& tier = *options.experts->tier;
  if (tier.host_layers == 0 && tier.misses == MissRule::kFetch) return {};
  Device* const memory = options.experts->memory;
  ASSIGN_OR_RETURN(
      host_, HostExperts::create(config_, max_batched_tokens_, memory != nullptr ? *memory : *options.packing->device,
                                 *options.packing->ops, *options.packing->stream));
  return {};
}

Result<std::unique_ptr<Transformer>> load_transformer(const FileSystem& files, const std::string& path, Device& device,
                                                      const OpTable& ops, Stream& stream, const LoadOptions& options) {
  ASSIGN_OR_RETURN(const OpenModel model, open_model(files, path));
  return load_transformer(model, device, ops, stream, options);
}

}  // namespace foregate
