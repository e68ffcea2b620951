#include "engine/runtime/engine_impl.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace foregate {
namespace {

Status check_options(const EngineParts& parts) {
  const EngineOptions& o = parts.options;
  if (parts.model == nullptr || parts.device == nullptr)
    return invalid_argument("an engine needs a model and a device");
  if (o.max_num_seqs < 1) return invalid_argument("max_num_seqs must be at least 1", "max_num_seqs");
  if (o.max_num_batched_tokens < 1) {
    return invalid_argument("max_num_batched_tokens must be at least 1", "max_num_batched_tokens");
  }
  if (o.max_num_queued_reqs < 0)
    return invalid_argument("max_num_queued_reqs must not be negative", "max_num_queued_reqs");
  if (o.max_num_queued_tokens < 0) {
    return invalid_argument("max_num_queued_tokens must not be negative", "max_num_queued_tokens");
  }
  if (o.max_client_share < 1 || o.max_client_share > 100) {
    return invalid_argument("max_client_share must be between 1 and 100", "max_client_share");
  }
  if (o.expert_batch_delay < 0) {
    return invalid_argument("expert_batch_delay must not be negative", "expert_batch_delay");
  }
  if (o.swap_space_bytes < 0) return invalid_argument("swap_space must not be negative", "swap_space");
  if (!(o.target_itl_seconds >= 0)) return invalid_argument("target_itl must not be negative", "target_itl_ms");
  if (o.policy.mlfq.levels < 1 || o.policy.mlfq.quantum < 1 || o.policy.mlfq.promote_after < 1) {
    return invalid_argument("levels, quantum and promotion of mlfq must be at least 1", "mlfq_quantum");
  }
  if (o.policy.dlpm.quantum < 1 || o.policy.dlpm.look_ahead < 1) {
    return invalid_argument("the quantum of dlpm must be at least 1", "dlpm_quantum");
  }
  if (o.max_logit_rows < 1) return invalid_argument("max_logit_rows must be at least 1", "max_logit_rows");
  if (o.max_fatal_steps < 1) return invalid_argument("max_fatal_steps must be at least 1", "max_fatal_steps");
  if (!(o.step_limit_seconds > 0.0))
    return invalid_argument("step_limit_seconds must be above 0", "step_limit_seconds");
  if (parts.cache.num_blocks() < 1 || parts.cache.num_blocks() > std::numeric_limits<std::int32_t>::max()) {
    return invalid_argument("the KV cache has " + std::to_string(parts.cache.num_blocks()) + " blocks", "num_blocks");
  }
  if (parts.cache.layout().grouped && parts.cache.num_blocks(KvGroup::kWindow) < 1) {
    return invalid_argument("the KV cache has no blocks for layers with a window", "num_blocks");
  }
  if (const ElasticParts& e = parts.elastic; e.budget_bytes > 0) {
    const std::int32_t unit = parts.cache.unit_blocks();
    const bool whole = e.present_blocks % unit == 0 && e.least_blocks % unit == 0;
    const bool ordered = e.least_blocks > 0 && e.present_blocks >= e.least_blocks;
    const bool fits =
        e.block_bytes == parts.cache.layout().block_bytes() && e.present_blocks <= parts.cache.num_blocks();
    if (!whole || !ordered || !fits || parts.model->elastic_slots() == nullptr) {
      return invalid_argument("the budget does not go with cache and model", "elastic_memory");
    }
  }
  if (parts.limits.vocab_size != parts.model->vocab_size()) {
    return invalid_argument("the limits speak of " + std::to_string(parts.limits.vocab_size) +
                                " token ids, the model has " + std::to_string(parts.model->vocab_size()),
                            "vocab_size");
  }
  return {};
}

LedgerLimits ledger_limits(const EngineOptions& options) {
  LedgerLimits limits;
  limits.max_samples = static_cast<std::int64_t>(options.max_num_seqs) + options.max_num_queued_reqs;
  limits.max_queued_tokens = options.max_num_queued_tokens;
  limits.max_client_share = options.max_client_share;
  return limits;
}

}  // namespace

EngineImpl::EngineImpl(EngineParts parts, Drive drive)
    : info_(parts.info),
      limits_(parts.limits),
      clock_(*parts.clock),
      room_(room_of(parts)),
      shared_(ledger_limits(parts.options), parts.options.step_limit_seconds),
      loop_(std::make_unique<EngineLoop>(std::move(parts), shared_)) {
  if (drive == Drive::kThread) thread_ = std::thread([this] { loop_->run(); });
}

EngineImpl::~EngineImpl() {
  shared_.draining.store(true);
  shared_.inbox.close();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    loop_->end();
  }
}

Status EngineImpl::check_submit(const Request& request) const {
  if (shared_.failed.load()) return unavailable("the engine has failed");
  if (shared_.draining.load()) return unavailable("the engine is shutting down");
  RETURN_IF_ERROR(validate(request, limits_));
  return check_room_for(room_, request);
}

Status EngineImpl::submit(Request request, std::shared_ptr<EventSink> sink) {
  Status status = check_submit(request);
  const RequestId id = request.id;
  if (status.ok()) {
    const auto tokens = static_cast<std::int64_t>(request.prompt.size());
    status = shared_.live.open(id, request.n, tokens, request.client);
  }
  if (status.ok()) {
    Submission submission{std::make_shared<const Request>(std::move(request)), std::move(sink)};
    if (!shared_.inbox.try_push(std::move(submission))) {
      shared_.live.abandon(id);
      status = unavailable("the engine is shutting down");
    }
  }
  if (!status.ok()) shared_.refused.fetch_add(1);
  return status;
}

Status EngineImpl::check_room(std::uint64_t client) {
  Status status = shared_.live.check_room(client);
  if (!status.ok()) shared_.refused.fetch_add(1);
  return status;
}

void EngineImpl::cancel(RequestId id) {
  if (shared_.live.cancel(id)) shared_.inbox.wake();
}

void EngineImpl::cancel(RequestId id, std::int32_t index) {
  if (shared_.live.cancel(id, index)) shared_.inbox.wake();
}

void EngineImpl::set_paused(RequestId id, bool paused) {
  if (shared_.live.set_paused(id, paused)) shared_.inbox.wake();
}

void EngineImpl::begin_drain() {
  shared_.draining.store(true);
}

bool EngineImpl::idle() const {
  return shared_.live.samples() == 0;
}

bool EngineImpl::healthy() const {
  return !shared_.failed.load() && !shared_.watchdog.stalled(clock_.now());
}

EngineStats EngineImpl::stats() const {
  EngineStats stats = shared_.published();
  stats.refused = shared_.refused.load();
  // What the engine thread has not seen yet waits too.
  const std::int64_t unseen = shared_.live.samples() - stats.running - stats.waiting - stats.paused;
  stats.waiting += std::max<std::int64_t>(0, unseen);
  return stats;
}

std::vector<LiveSample> EngineImpl::live() const {
  return shared_.published_samples();
}

Result<std::unique_ptr<Engine>> make_engine(EngineParts parts) {
  RETURN_IF_ERROR(check_options(parts));
  if (parts.clock == nullptr) parts.clock = &system_clock();
  return std::unique_ptr<Engine>(new EngineImpl(std::move(parts)));
}

}  // namespace foregate
