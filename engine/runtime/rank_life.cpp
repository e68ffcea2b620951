#include "engine/runtime/rank_life.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "engine/base/log.h"
#include "engine/io/file.h"
#include "engine/model/rank_experts.h"
#include "engine/runtime/rank_setup.h"

namespace foregate {

RankPulse::RankPulse(std::function<void(char)> beat) : beat_(std::move(beat)), thread_([this] { run(); }) {}

RankPulse::~RankPulse() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void RankPulse::serving() {
  {
    const std::lock_guard lock(mutex_);
    says_ = kPulseServing;
    news_ = true;
  }
  changed_.notify_all();
}

void RankPulse::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    news_ = false;
    beat_(says_);
    changed_.wait_for(lock, std::chrono::nanoseconds(kPulseNs), [this] { return stopping_ || news_; });
  }
}

namespace {

// None: all of its experts are in memory. Costs are not measured: this rank decides nothing by them.
std::optional<ExpertLoading> rank_store(const RankSetup& setup, const PlacementPlan& plan, Stream& background) {
  const auto rank = static_cast<std::size_t>(setup.rank);
  if (rank >= setup.expert_bytes.size() || setup.expert_bytes[rank] == 0) return std::nullopt;
  ExpertLoading loading;
  loading.store.budget_bytes = setup.expert_bytes[rank];
  loading.store.policy = setup.expert_policy;
  loading.store.transfer.verify = setup.verify_weights;
  loading.store.read_prompts_ahead = setup.prompt_read_ahead;
  loading.store.own = [&plan, rank = setup.rank](ExpertKey key) {
    return plan.holds(RankId{rank}, key.layer, key.expert);
  };
  loading.warm = setup.expert_warm;
  loading.counters_dir = setup.model;
  loading.leave_counters = false;
  loading.background = &background;
  return loading;
}

}  // namespace

Status load_and_serve(RankLine& line, RankPulse& pulse, const MakeRankBackend& make_backend) {
  ASSIGN_OR_RETURN(const Message message, line.receive({.most_bytes = kMaxSetupBytes}, kNoDeadline));
  if (message.kind != MessageKind::kSetup) return data_loss("the first message is no setup");
  ASSIGN_OR_RETURN(const RankSetup setup, parse_setup(message.body));
  ASSIGN_OR_RETURN(const PlacementPlan plan, parse_plan(setup.plan));
  if (setup.rank >= plan.ranks()) return data_loss("the plan has no rank " + std::to_string(setup.rank));
  const RankBackend backend = make_backend(setup.isa, setup.threads);
  if (backend.device == nullptr) return invalid_argument(backend.reason, "isa");
  const auto stream = backend.device->create_stream();
  ASSIGN_OR_RETURN(const OpenModel model, open_model(local_files(), setup.model));
  LoadOptions load;
  load.max_batched_tokens = setup.max_rows;
  load.verify_weights = setup.verify_weights;
  if (setup.quantization != "none") load.weights.quantization = quantization_named(setup.quantization);
  if (setup.rows_move) load.exchange = ExchangeMode::kOneAllToAll;
  if (setup.halves) load.overlap = OverlapMode::kHalves;
  const RankBackend background = make_backend(setup.isa, 1);  // converts experts of a model that is not packed
  const auto background_stream = background.device->create_stream();
  load.experts = rank_store(setup, plan, *background_stream);
  ASSIGN_OR_RETURN(const auto experts,
                   RankExperts::load(model, plan, RankId{setup.rank}, *backend.device, *backend.ops, *stream, load));
  log_info("rank " + std::to_string(setup.rank) + " holds " + std::to_string(experts->weight_bytes()) +
           " bytes for experts, " + std::to_string(setup.threads) + " threads");
  pulse.serving();
  return experts->serve(line);
}

}  // namespace foregate
