#include "engine/runtime/loop.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <string>
#include <utility>

#include "engine/base/log.h"
#include "engine/base/rng.h"
#include "engine/runtime/accept.h"
#include "engine/runtime/device_sampling.h"
#include "engine/runtime/kv_figures.h"
#include "engine/runtime/step_builder.h"
#include "engine/sched/scheduler.h"

namespace foregate {
namespace {

constexpr TimeNs kLongWaitNs = 3'600'000'000'000;

KvPools pools_of(const KvCache& cache, const ElasticParts& elastic, const EngineOptions& options) {
  const auto blocks = static_cast<std::int32_t>(cache.num_blocks());
  const std::int32_t size = cache.layout().block_size;
  if (elastic.budget_bytes > 0) return {.main = {blocks, size, elastic.present_blocks, cache.unit_blocks()}};
  if (!cache.layout().grouped) return {.main = {blocks, size}};
  const auto window_blocks = static_cast<std::int32_t>(cache.num_blocks(KvGroup::kWindow));
  return {.main = {blocks, size}, .window = {window_blocks, size}, .reach = window_of(cache, options)};
}

std::uint64_t draw_seed(std::uint64_t server_seed, std::uint64_t number) {
  const auto words = philox4x32(server_seed, number, 0x5eedULL);
  return static_cast<std::uint64_t>(words[0]) << 32 | words[1];
}

// Once a step while the prompt of a sample is computed; of several samples the first one tells.
void tell_progress(const Sequence& seq, TimeNs now, std::optional<TokenEvent>& event) {
  if (!seq.request->progress || seq.index != 0 || seq.first_token_at >= 0) return;
  if (!event) {
    event.emplace();
    event->request = seq.request->id;
  }
  event->progress = PromptProgress{std::min(seq.computed, seq.prompt_tokens()), now - seq.first_run_at};
}

}  // namespace

EngineLoop::EngineLoop(EngineParts parts, EngineShared& shared)
    : options_(std::move(parts.options)),
      info_(std::move(parts.info)),
      clock_(*parts.clock),
      shared_(shared),
      runner_(std::move(parts.model), *parts.device, std::move(parts.cache)),
      pools_(pools_of(runner_.cache(), parts.elastic, options_)),
      pool_(pools_.main),
      residency_(parts.metrics, options_.model_name, pool_),
      prefixes_(pools_, options_.prefix_caching, options_.model_name,
                options_.free_window_blocks ? runner_.cache().layout().window() : 0),
      policy_(options_.policy),
      batcher_(options_.expert_batch_delay, runner_.model()),
      swap_(*parts.device, options_, clock_, parts.metrics),
      elastic_(parts.elastic, runner_.model().elastic_slots(), clock_),
      planner_(parts.planner ? std::move(parts.planner) : plan_step),
      speculation_(std::move(parts.speculation), clock_, parts.metrics, options_.model_name),
      sampler_(runner_.vocab_size()),
      metrics_(parts.metrics, options_.model_name, parts.limits.max_model_len),
      sched_(parts.metrics, options_),
      experts_(parts.metrics, options_.model_name),
      tier_(parts.metrics, options_.model_name),
      dense_(parts.metrics, options_.model_name),
      elastic_report_(parts.metrics, options_.model_name) {
  swap_.probe(runner_.cache());
  end_turn();
}

void EngineLoop::run() {
  while (!shared_.inbox.closed()) {
    if (!turn()) wait_for_work();
  }
  end();
  shared_.watchdog.waits();
}

void EngineLoop::end() {
  admit(clock_.now());
  end_all(FinishReason::kCancelled, {});
  end_turn();
}

bool EngineLoop::turn() {
  try {
    return turn_unguarded();
  } catch (const std::exception& error) {
    fail_engine(internal_error(std::string("the engine thread threw: ") + error.what()));
    return true;
  }
}

bool EngineLoop::turn_unguarded() {
  const TimeNs now = clock_.now();
  shared_.watchdog.turn_begins(now);
  residency_.turn(now);
  admit(now);
  if (shared_.failed.load()) end_all(FinishReason::kError, unavailable("the engine has failed"));
  const BatchPlan next = plan();
  const bool stepped = !next.empty() && step(next);
  end_turn();
  if (stepped) speculation_.note_turn(next, clock_.now() - now);
  return !next.empty();
}

void EngineLoop::admit(TimeNs now) {
  // Controls first: whatever they speak of was pushed before, or is put back for the next turn.
  std::vector<Control> controls = shared_.live.take_controls();
  std::vector<Submission> arrivals;
  shared_.inbox.drain(arrivals);
  for (const Submission& submission : arrivals) add_request(submission, now);
  for (Control& control : controls) apply_control(std::move(control), now);
  expire(now);
}

void EngineLoop::add_request(const Submission& submission, TimeNs now) {
  const Request& request = *submission.request;
  const std::uint64_t seed = request.sampling.seed ? *request.sampling.seed : draw_seed(options_.seed, seeds_drawn_++);
  for (std::int32_t index = 0; index < request.n; ++index) {
    auto seq = std::make_unique<Sequence>();
    seq->index = index;
    seq->request = submission.request;
    seq->sink = submission.sink;
    seq->seed = seed;
    if (request.constraint != nullptr) seq->constraint = request.constraint->start();
    seq->tokens.reserve(request.prompt.size() + 64);
    seq->tokens = request.prompt;
    seq->queued_at = request.arrival > 0 ? std::min(request.arrival, now) : now;
    policy_.joined(sequences_.add(std::move(seq)));
  }
}

void EngineLoop::apply_control(Control control, TimeNs now) {
  const std::vector<Sequence*> sequences = sequences_.of_request(control.request);
  if (sequences.empty()) return shared_.live.put_back(std::move(control));
  for (Sequence* seq : sequences) {
    if (control.paused) seq->paused = *control.paused;
    const auto& indices = control.cancelled;
    const bool named = std::find(indices.begin(), indices.end(), seq->index) != indices.end();
    if (control.cancel_all || named) finish(*seq, FinishReason::kCancelled, now);
  }
}

void EngineLoop::expire(TimeNs now) {
  for (Sequence* seq : sequences_.all()) {
    const TimeNs deadline = seq->request->deadline;
    if (deadline == 0 || now < deadline) continue;
    finish(*seq, FinishReason::kError, now, Status(Code::kDeadlineExceeded, "the deadline of the request has passed"));
  }
}

BatchPlan EngineLoop::plan() {
  elastic_.settle(pool_, runner_.cache());
  SeqViews views = sequences_.views(pool_.block_size(), options_.max_logit_rows);
  if (policy_.needs_prefixes()) prefixes_.look_up(sequences_, views);
  policy_.rank(sequences_, views);
  prefixes_.fill(sequences_, views, options_.max_num_seqs, policy_.ranked(), stats_);
  batcher_.form(sequences_, views, stats_);
  speculation_.propose(sequences_, views, runner_.model());
  PlanInput input;
  input.running = views.running;
  input.waiting = views.waiting;
  input.free_blocks = pool_.free_blocks();
  input.block_size = pool_.block_size();
  input.refs = pool_.all_refs();
  input.window = pools_.reach;
  input.free_window_blocks = pools_.window.free_blocks();
  input.window_refs = pools_.window.all_refs();
  elastic_.balance(input, sched_limits(), pool_, runner_.cache());
  BatchPlan plan = planner_(input, sched_limits());
  for (SeqId id : plan.preempted) preempt(sequences_.at(id));
  // INV-7: an empty plan while something could run would be a hang; end it in the open instead.
  if (BUG_IF(plan.empty() && sequences_.runnable())) {
    end_all(FinishReason::kError, internal_error("the scheduler found no step for a request that can run"));
  }
  return plan;
}

SchedLimits EngineLoop::sched_limits() const {
  SchedLimits limits;
  limits.max_num_seqs = options_.max_num_seqs;
  limits.max_num_batched_tokens = options_.max_num_batched_tokens;
  limits.max_prefill_chunk = options_.max_prefill_chunk;
  limits.ranked = policy_.ranked();
  if (options_.target_itl_seconds > 0 && step_cost_.known()) {
    limits.max_mixed_rows = step_cost_.rows_within(options_.target_itl_seconds, options_.max_num_batched_tokens);
  }
  return limits;
}

void EngineLoop::preempt(Sequence& seq) {
  swap_.preempted(seq, runner_.cache(), step_cost_, stats_);
  release_blocks(seq);
  seq.running = false;
  seq.computed = seq.published = 0;
  ++seq.preemptions;
  ++stats_.preemptions;
  metrics_.preempted();
}

void EngineLoop::wait_for_work() {
  const TimeNs now = clock_.now();
  TimeNs wait = kLongWaitNs;
  for (const Sequence* seq : sequences_.all()) {
    if (seq->request->deadline != 0) wait = std::min(wait, std::max<TimeNs>(0, seq->request->deadline - now));
  }
  shared_.watchdog.waits();
  shared_.inbox.wait_for(std::chrono::nanoseconds(wait));
}

void EngineLoop::release_blocks(Sequence& seq) {
  KvTxn::release_all(pools_.window, seq.window_blocks, seq.request->client);
  KvTxn::release_all(pool_, seq.blocks, seq.request->client);
}

// Blocks for every row. False when the plan counted on blocks that are not there.
bool EngineLoop::stage(const BatchPlan& plan, KvStep& step) {
  PrefixSharing::share(plan, sequences_, step);
  for (const PlanEntry& entry : plan.entries) {
    Sequence& seq = sequences_.at(entry.seq);
    if (BUG_IF(!step.main.reserve(seq.blocks, entry.new_blocks))) return false;
    if (BUG_IF(!step.window.reserve(seq.window_blocks, entry.new_window_blocks))) return false;
  }
  KvCache& cache = runner_.cache();
  for (const BlockCopy& copy : step.main.copies()) cache.copy_block(copy.from, copy.to);
  for (const BlockCopy& copy : step.window.copies()) cache.copy_block(copy.from, copy.to, KvGroup::kWindow);
  step.main.copied();
  step.window.copied();
  swap_.restore(plan, sequences_, step, cache);
  for (const PlanEntry& entry : plan.entries) {  // INV-18
    const Sequence& seq = sequences_.at(entry.seq);
    const std::int32_t block = entry.first_position / pool_.block_size();
    if (BUG_IF(!step.main.writable(seq.blocks, block))) return false;
    if (BUG_IF(pools_.grouped() && !step.window.writable(seq.window_blocks, block))) return false;
  }
  return true;
}

// False when it failed.
bool EngineLoop::step(const BatchPlan& plan) {
  KvStep txn(pools_);
  if (!stage(plan, txn)) {
    txn.drop();
    step_failed(plan, internal_error("the plan asks for blocks that it cannot have"), clock_.now());
    return false;
  }
  build_step(plan, sequences_, txn, pools_, prefixes_.publishes_chunks(), io_);
  speculation_.ask_for_hidden(io_);
  if (options_.device_sampling && runner_.model().samples()) ask_for_tokens(plan, sequences_, io_);
  const TimeNs start = clock_.now();
  note_first_runs(plan, start);
  const Status ran = runner_.run(io_);
  const TimeNs now = clock_.now();
  ++stats_.steps;
  stats_.last_step_end = now;
  if (!ran.ok()) {
    txn.drop();
    step_failed(plan, ran, now);
    return false;
  }
  fatal_in_a_row_ = 0;
  txn.commit();
  metrics_.step(plan.rows);
  step_cost_.add(plan.rows, seconds_between(start, now));
  policy_.ran(plan, sequences_, stats_);
  batcher_.ran(plan, sequences_, seconds_between(start, now));
  for (const Token token : io_.sampled) stats_.device_sampled += token >= 0 ? 1 : 0;
  commit(plan, now);
  return true;
}

void EngineLoop::note_first_runs(const BatchPlan& plan, TimeNs now) {
  for (const PlanEntry& entry : plan.entries) {
    Sequence& seq = sequences_.at(entry.seq);
    if (seq.first_run_at >= 0) continue;
    seq.first_run_at = now;
    shared_.live.begin_sample(seq.request->id);
    metrics_.first_run(seq, now);
  }
}

void EngineLoop::commit(const BatchPlan& plan, TimeNs now) {
  stats_.batched_steps += plan.entries.size() > 1 ? 1 : 0;
  for (std::size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    Sequence& seq = sequences_.at(entry.seq);
    seq.running = true;
    seq.suspect = false;
    swap_.resumed(entry, seq, stats_);
    prefixes_.note_admitted(entry, seq, stats_);
    stats_.chunked_prefills += entry.partial ? 1 : 0;
    auto event = accept_entry(entry, io_.logit_ranges[i], runner_, io_.sampled, info_.eos_token_ids, sampler_, seq);
    if (!io_.branches.empty()) {
      speculation_.settle_tree(entry, seq, pools_, runner_.cache());
      Speculation::note_places(entry, seq, io_);
    }
    if (spoilt_by_draft(entry, io_.logit_ranges[i], runner_, io_.sampled)) wipe_rejected(entry, seq);
    if (!io_.drafted.empty()) io_.drafted[i] = drafts_that_stood(entry, seq);
    speculation_.settle(entry, seq, pools_);
    if (!event.ok()) {
      if (event.status().code() == Code::kDataLoss) wipe(seq);
      finish(seq, FinishReason::kError, now, event.status());
      continue;
    }
    speculation_.note_rows(plan.entries[i], seq, io_, i);
    const bool chunk_is_good = !entry.samples && prefixes_.publishes_chunks();
    if (event->has_value() || chunk_is_good) prefixes_.publish(seq, stats_);
    prefixes_.give_up_unread(seq, stats_);
    tell_progress(seq, now, *event);
    if (!event->has_value()) continue;
    (*event)->cached_tokens = std::max(0, seq.cached_tokens);
    (*event)->drafted = entry.draft;
    (*event)->drafts_stood = drafts_that_stood(entry, seq);
    emit(seq, std::move(**event), now);
  }
  if (!io_.drafted.empty()) runner_.model().drafts_stood(io_.drafted, io_.places);
}

// Numbers that are not finite stay in nobody's block.
void EngineLoop::wipe(const Sequence& seq) {
  ++stats_.nonfinite_rows;
  const auto wipe = [this](const BlockPool& pool, const BlockTable& table, KvGroup group) {
    for (BlockId block : table.held()) {
      if (pool.refs(block) == 1 && !pool.published(block)) runner_.cache().zero_block(block, group);
    }
  };
  wipe(pool_, seq.blocks, KvGroup::kMain);
  wipe(pools_.window, seq.window_blocks, KvGroup::kWindow);
}

// INV-20: the same of rows that count as rejected, which lie behind others in a block that is kept, or in blocks that
// are about to be given back. Drafts of this sequence are not to be trusted with the model's numbers any more.
void EngineLoop::wipe_rejected(const PlanEntry& entry, Sequence& seq) {
  speculation_.spoilt(seq);
  const std::int32_t size = pool_.block_size();
  const auto wipe = [&](const BlockPool& pool, const BlockTable& table, KvGroup group) {
    for (std::int32_t p = seq.computed; p < entry.first_position + entry.rows; p = (p / size + 1) * size) {
      const BlockId block = table.blocks()[static_cast<std::size_t>(p / size)];
      if (BUG_IF(pool.refs(block) != 1 || pool.published(block))) return;
      runner_.cache().zero_positions(block, p % size, size, group);
    }
  };
  wipe(pool_, seq.blocks, KvGroup::kMain);
  if (pools_.grouped()) wipe(pools_.window, seq.window_blocks, KvGroup::kWindow);
}

// INV-12: nothing of the step is kept. Those who were in it run alone next; who fails twice ends.
void EngineLoop::step_failed(const BatchPlan& plan, const Status& why, TimeNs now) {
  log_error("step failed: " + why.to_string() + " plan " + plan.to_string());
  if (runner_.model().broken()) return fail_engine(why);
  if (speculation_.takes_blame(plan, sequences_)) return;
  // Weights that cannot be read say nothing about the engine: requests that need other ones go on.
  const bool weights_unreadable = why.code() == Code::kDataLoss || why.code() == Code::kUnavailable;
  if (!weights_unreadable && ++fatal_in_a_row_ >= options_.max_fatal_steps) return fail_engine(why);
  for (const PlanEntry& entry : plan.entries) {
    Sequence& seq = sequences_.at(entry.seq);
    seq.suspect = true;
    if (++seq.fatal_steps >= 2) finish(seq, FinishReason::kError, now, why);
  }
}

void EngineLoop::emit(Sequence& seq, TokenEvent event, TimeNs now) {
  if (!event.tokens.empty() || event.stop_token >= 0) {
    if (seq.last_token_at < 0) stats_.prompt_tokens += static_cast<std::uint64_t>(seq.prompt_tokens());
    stats_.generated_tokens += event.tokens.size();
    metrics_.token(seq, static_cast<std::int32_t>(event.tokens.size()), now);
    policy_.sampled(seq, static_cast<std::int32_t>(event.tokens.size()));
    if (seq.first_token_at < 0) seq.first_token_at = now;
    seq.last_token_at = now;
    event.began_at = seq.first_run_at;
    event.decided_at = now;
  }
  if (!event.finish) return seq.sink->on_event(std::move(event));
  const FinishReason reason = *event.finish;
  // INV-5: marked before the call, so that no failure in between can send a second finish.
  if (!std::exchange(seq.finished, true)) seq.sink->on_event(std::move(event));
  retire(seq, reason, now);
}

void EngineLoop::retire(Sequence& seq, FinishReason reason, TimeNs now) {
  switch (reason) {
    case FinishReason::kStop: ++stats_.finished_stop; break;
    case FinishReason::kLength: ++stats_.finished_length; break;
    case FinishReason::kCancelled: ++stats_.cancelled; break;
    case FinishReason::kError: ++stats_.failed; break;
  }
  metrics_.finish(seq, reason, now);
  release_blocks(seq);
  swap_.ended(seq.id);
  ended_.push_back({seq.request->id, seq.first_run_at >= 0});
  speculation_.forget(seq.id);
  sequences_.remove(seq.id);
}

void EngineLoop::finish(Sequence& seq, FinishReason reason, TimeNs now, Status error) {
  TokenEvent event;
  event.request = seq.request->id;
  event.index = seq.index;
  event.finish = reason;
  event.error = std::move(error);
  emit(seq, std::move(event), now);
}

void EngineLoop::end_all(FinishReason reason, const Status& error) {
  for (Sequence* seq : sequences_.all()) finish(*seq, reason, clock_.now(), error);
}

void EngineLoop::fail_engine(const Status& why) {
  shared_.failed.store(true);
  log_error("the engine has failed and takes no more requests: " + why.to_string());
  admit(clock_.now());
  end_all(FinishReason::kError, why);
  end_turn();
}

Status EngineLoop::audit() const {
  RETURN_IF_ERROR(sequences_.audit(pool_.block_size(), pools_.reach));
  RETURN_IF_ERROR(pool_.audit(sequences_.block_tables(&Sequence::blocks)));
  RETURN_IF_ERROR(pools_.window.audit(sequences_.block_tables(&Sequence::window_blocks)));
  RETURN_IF_ERROR(elastic_.audit(pool_));
  return prefixes_.audit();
}

void EngineLoop::count_live() {
  stats_.running = stats_.waiting = stats_.paused = stats_.deferred = 0;
  live_.clear();
  for (const Sequence* seq : sequences_.all()) {
    ++(seq->paused ? stats_.paused : seq->running ? stats_.running : stats_.waiting);
    live_.push_back(live_sample(*seq));
    stats_.deferred += live_.back().state == SampleState::kDeferred ? 1 : 0;
  }
}

// Stats first, then the ledger: who sees idle() sees the blocks free (INV-3, INV-10).
void EngineLoop::end_turn() {
  if (bugs_are_fatal()) {
    const Status sound = audit();
    if (!sound.ok()) log_error(sound.to_string());
    CHECK(sound.ok());
  }
  count_live();
  block_figures(pools_, runner_.cache().layout(), stats_);
  prefixes_.figures(stats_);
  swap_.figures(stats_);
  if (!ended_.empty()) policy_.retired(sequences_);
  speculation_.figures(stats_);
  metrics_.figures(stats_);
  sched_.figures(stats_, shared_.live.figures(), sched_limits().max_mixed_rows);
  stats_.experts = runner_.model().expert_figures();
  if (stats_.experts) experts_.figures(*stats_.experts, clock_.now());
  stats_.graph_launches = runner_.model().collected_steps();
  const LibraryFigures library = runner_.device().library_figures();
  stats_.library_products = library.products;
  stats_.library_refused = library.refused;
  stats_.tier = runner_.model().tier_figures();
  if (stats_.tier) tier_.figures(*stats_.tier);
  runner_.model().show_experts();
  stats_.dense = runner_.model().dense_figures();
  if (stats_.dense) dense_.figures(*stats_.dense);
  stats_.elastic = elastic_.figures(pool_);
  if (stats_.elastic) elastic_report_.figures(*stats_.elastic, pool_.present_blocks(), clock_.now());
  shared_.publish(stats_, live_);
  for (const Ended& sample : ended_) shared_.live.close_sample(sample.request, sample.began);
  ended_.clear();
}

}  // namespace foregate
