#include "engine/runtime/rank_life.h"

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "engine/base/log.h"
#include "engine/comm/peer_call.h"
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
  const RankBackend host = make_backend({.isa = setup.isa, .threads = setup.threads, .cuda_module = {}});
  if (host.device == nullptr) return invalid_argument(host.reason, "isa");
  RankBackend backend = host;
  if (setup.on_gpu) backend = make_backend({.gpu = setup.rank, .cuda_module = setup.cuda_module});
  if (backend.device == nullptr) return invalid_argument(backend.reason, "device");
  PeerAnswer peers;
  if (setup.calls_peers) {
    ASSIGN_OR_RETURN(peers, answer_peer(line, *backend.device, setup.nccl_library));
  }
  const auto stream = backend.device->create_stream();
  const auto host_stream = host.device->create_stream();
  ASSIGN_OR_RETURN(const OpenModel model, open_model(local_files(), setup.model));
  LoadOptions load;
  load.max_batched_tokens = setup.max_rows;
  load.verify_weights = setup.verify_weights;
  if (setup.quantization != "none") load.weights.quantization = quantization_named(setup.quantization);
  if (setup.rows_move) load.exchange = ExchangeMode::kOneAllToAll;
  if (setup.halves) load.overlap = OverlapMode::kHalves;
  // Converts experts of a model that is not packed.
  const RankBackend background = make_backend({.isa = setup.isa, .threads = 1, .cuda_module = {}});
  const auto background_stream = background.device->create_stream();
  load.experts = rank_store(setup, plan, *background_stream);
  if (setup.on_gpu) load.packing = {host.device, host.ops, host_stream.get()};
  ASSIGN_OR_RETURN(const auto experts,
                   RankExperts::load(model, plan, RankId{setup.rank}, *backend.device, *backend.ops, *stream, load));
  log_info("rank " + std::to_string(setup.rank) + " holds " + std::to_string(experts->weight_bytes()) +
           " bytes for experts, " +
           (setup.on_gpu ? backend.device->describe() : std::to_string(setup.threads) + " threads"));
  experts->set_peers(peers.call.peers, peers.answer_limit);
  pulse.serving();
  const Status ended = experts->serve(line);
  if (setup.on_gpu) log_info("rank " + std::to_string(setup.rank) + " ends: " + ended.message());
  return ended;
}

}  // namespace foregate
