#include "tests/sim/sim.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "engine/api/client_share.h"
#include "engine/runtime/engine_impl.h"
#include "tests/sim/rules.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_device.h"

namespace foregate::sim {
namespace {

constexpr std::int32_t kReaderCap = 6;  // tokens that a client lets wait before it asks for a pause

class Simulation {
 public:
  Simulation(std::uint64_t seed, Plant plant);
  Outcome run();

 private:
  EngineParts parts();
  void print(const PlanInput& input) const;
  void happen();
  void arrive();
  void cancel_somebody();
  void readers();
  void turn(bool arrivals);
  void check_turn();
  void check_sample(const Client& client, const Sample& sample);
  bool window_has_room(std::int64_t blocks) const;
  Status expected_refusal(const Request& request) const;
  void settle();
  void last_check();
  BatchPlan plan(const PlanInput& input, const SchedLimits& limits);

  const std::uint64_t seed_;
  const Scenario scenario_;
  SimClock clock_;
  Ledger ledger_;
  SimDevice device_;
  SimPages pages_;
  Dice dice_;
  Dice plant_dice_;
  Rules rules_;
  SimModel* model_ = nullptr;  // the engine's
  std::unique_ptr<EngineImpl> engine_;
  const std::uint64_t bugs_before_;
  bool draining_ = false;
  PlanInput input_;
  BatchPlan planned_;
  bool stepped_ = false;
  std::uint64_t next_id_ = 1;
  std::vector<std::pair<std::int64_t, RequestId>> late_cancels_;
  Outcome outcome_;
};

Simulation::Simulation(std::uint64_t seed, Plant plant)
    : seed_(seed),
      scenario_(draw_scenario(seed)),
      ledger_(plant, clock_),
      device_(seed, scenario_.allocation_fails, plant == Plant::kSwapOverlaps),
      pages_(static_cast<std::size_t>(16 * scenario_.block_size * scenario_.elastic.unit), plant),
      dice_(seed, 2),
      plant_dice_(seed, 3),
      rules_(ledger_, scenario_.options, scenario_.limits.max_model_len),
      bugs_before_(bugs_found()) {
  ledger_.max_fatal_steps = scenario_.options.max_fatal_steps;
  engine_ = std::make_unique<EngineImpl>(parts(), Drive::kCaller);
}

EngineParts Simulation::parts() {
  EngineParts parts;
  auto model = std::make_unique<SimModel>(seed_, ledger_, clock_, scenario_.faults, scenario_.window);
  KvLayout layout = model->kv_layout(DType::kF32, scenario_.block_size);
  layout.grouped = scenario_.window_blocks > 0;
  auto cache = KvCache::create(device_, layout, scenario_.num_blocks, scenario_.window_blocks);
  if (const ElasticScenario& elastic = scenario_.elastic; elastic.on) {
    model->set_slots(std::make_unique<SimSlots>(seed_, elastic, ledger_.plant()));
    cache = KvCache::create_elastic(device_, pages_, layout, elastic.most_blocks);
    parts.elastic = elastic_parts(elastic, layout.block_bytes(), scenario_.num_blocks);
    CHECK(cache->unit_blocks() == elastic.unit);
  }
  if (scenario_.experts.on) {
    model->set_experts(std::make_unique<SimExperts>(seed_, scenario_.experts, ledger_));
  }
  CHECK(cache.ok());
  device_.begin();
  model_ = model.get();
  parts.model = std::move(model);
  parts.device = &device_;
  parts.cache = std::move(cache).value();
  parts.options = scenario_.options;
  parts.info.architecture = "sim";
  parts.info.vocab_size = kVocab;
  parts.info.eos_token_ids = {kEos};
  parts.limits = scenario_.limits;
  parts.clock = &clock_;
  static Metrics metrics;  // its series cost more than a short service; nothing here reads them
  parts.metrics = &metrics;
  if (scenario_.drafts > 0) {
    parts.speculation.drafter = std::make_unique<SimDrafter>(seed_, ledger_, scenario_.draft_errs);
    parts.speculation.num_speculative_tokens = scenario_.drafts;
    parts.speculation.adaptive = scenario_.adaptive;
  }
  parts.planner = [this](const PlanInput& input, const SchedLimits& limits) { return plan(input, limits); };
  return parts;
}

// The planner as the engine sees it: plan_step, perhaps with a bug, and every plan judged.
BatchPlan Simulation::plan(const PlanInput& input, const SchedLimits& limits) {
  planned_ = ledger_.plant() == Plant::kNone ? plan_step(input, limits)
                                             : planted_plan(ledger_.plant(), input, limits, plant_dice_,
                                                            [this](SeqId id) { return ledger_.of(id).client->paused; });
  if (std::getenv("FOREGATE_SIM_TRACE") != nullptr) print(input);
  rules_.judge(input, planned_);
  ledger_.step_begins(planned_);
  ledger_.note(static_cast<std::uint64_t>(planned_.rows));
  for (const PlanEntry& entry : planned_.entries)
    ledger_.note(entry.seq.value * 100 + static_cast<std::uint64_t>(entry.rows));
  return planned_;
}

void Simulation::print(const PlanInput& input) const {
  std::printf("turn %lld, %d free of %lld: %s\n", static_cast<long long>(ledger_.turn), input.free_blocks,
              static_cast<long long>(scenario_.num_blocks), planned_.to_string().c_str());
  for (const auto& views : {input.running, input.waiting}) {
    for (const SeqView& v : views) {
      std::printf(
          "  seq %llu %d/%d tokens, %d blocks, %zu of %d window blocks, rank %d%s%s%s, saved %d, prefix %zu + %d\n",
          static_cast<unsigned long long>(v.id.value), v.computed, v.tokens, v.blocks, v.window_table.size(),
          v.window_blocks, v.rank, v.paused ? ", paused" : "", v.pending ? ", pending" : "",
          v.was_preempted ? ", was preempted" : "", v.saved, v.prefix.blocks.size(), v.prefix.tail_tokens);
    }
  }
}

void Simulation::happen() {
  if (scenario_.drain_at == ledger_.turn) {
    engine_->begin_drain();
    draining_ = outcome_.drained = true;
  }
  const auto whole = static_cast<std::int32_t>(scenario_.arrivals);
  for (std::int32_t i = 0; i < whole; ++i) arrive();
  if (dice_.chance(scenario_.arrivals - whole)) arrive();
  if (dice_.chance(scenario_.cancels)) cancel_somebody();
  if (dice_.chance(0.05)) clock_.advance(dice_.range(1, 30) * 1'000'000LL);
}

// Whether blocks of layers with a window are enough for a request of so many: all of it, or its window, a row, and what
// stands half in a block on either side.
bool Simulation::window_has_room(std::int64_t blocks) const {
  const std::int64_t there = scenario_.window_blocks;
  const std::int64_t least = (scenario_.window.positions + scenario_.block_size - 1) / scenario_.block_size + 2;
  return there == 0 || std::min(blocks, least) <= there;
}

// What the limits say must happen to a request, from what the clients know.
Status Simulation::expected_refusal(const Request& request) const {
  if (ledger_.engine_failed || draining_) return unavailable("");
  const EngineOptions& o = scenario_.options;
  const std::int64_t positions = static_cast<std::int64_t>(request.prompt.size()) + request.sampling.max_tokens - 1;
  const std::int64_t blocks = (positions + scenario_.block_size - 1) / scenario_.block_size;
  if (blocks > scenario_.num_blocks || !window_has_room(blocks)) return invalid_argument("");
  const std::int64_t places = o.max_num_seqs + o.max_num_queued_reqs;
  if (request.n > places) return invalid_argument("");
  if (ledger_.live() + request.n > places) return resource_exhausted("");
  std::int64_t held = 0;
  std::int64_t queued = 0;
  for (const auto& client : ledger_.clients()) {
    for (const Sample& sample : client->samples) {
      const bool same = client->request.client == request.client;
      held += same && !sample.finished ? 1 : 0;
      if (!sample.finished && !sample.begun) queued += static_cast<std::int64_t>(client->request.prompt.size());
    }
  }
  const std::int64_t share = std::max<std::int64_t>(1, places * o.max_client_share / 100);
  if (request.client != 0 && held + request.n > share) return {Code::kResourceExhausted, "", kClientShareField};
  const std::int64_t tokens = static_cast<std::int64_t>(request.prompt.size()) * request.n;
  if (o.max_num_queued_tokens > 0 && queued > 0 && queued + tokens > o.max_num_queued_tokens) {
    return resource_exhausted("");
  }
  return {};
}

void Simulation::arrive() {
  const Request request = draw_request(dice_, next_id_++, scenario_, clock_.now());
  const Status want = expected_refusal(request);
  const auto client = ledger_.add(request);
  client->reads = dice_.chance(scenario_.slow_readers) ? dice_.range(0, 1) : 1000;
  Request sent = request;
  if (ledger_.plant() == Plant::kSaltLost) sent.cache_salt.clear();
  if (ledger_.plant() == Plant::kDeadlineLost) sent.deadline = 0;
  if (ledger_.plant() == Plant::kClientLost) sent.client = 0;
  const Status got = engine_->submit(std::move(sent), client);
  const bool shares_agree = (got.field() == kClientShareField) == (want.field() == kClientShareField);
  if (got.code() != want.code() || !shares_agree) {
    return ledger_.broke("a request is answered " + got.to_string() +
                         " and not as the limits say: " + want.to_string());
  }
  if (got.ok()) return ledger_.accept(client);
  ++outcome_.refused;
  outcome_.refused_share += got.field() == kClientShareField ? 1 : 0;
}

void Simulation::cancel_somebody() {
  std::vector<Client*> live;
  for (const auto& client : ledger_.clients()) {
    if (client->live()) live.push_back(client.get());
  }
  if (live.empty()) return;
  Client& client = *live[static_cast<std::size_t>(dice_.range(0, static_cast<std::int32_t>(live.size()) - 1))];
  const bool one = dice_.chance(0.3);
  const std::int32_t index = dice_.range(0, client.request.n - 1);
  for (std::int32_t i = 0; i < client.request.n; ++i) {
    Sample& sample = client.samples[static_cast<std::size_t>(i)];
    if ((!one || i == index) && sample.cancelled == kNever) sample.cancelled = ledger_.turn;
  }
  if (ledger_.plant() == Plant::kCancelLost) return;
  if (ledger_.plant() == Plant::kCancelLate) {
    late_cancels_.emplace_back(ledger_.turn + 5, client.request.id);
  } else if (one) {
    engine_->cancel(client.request.id, index);
  } else {
    engine_->cancel(client.request.id);
  }
}

// Reads what each reader reads in a turn; asks for a pause where too much waits, and for the end of it when it is read.
void Simulation::readers() {
  for (const auto& client : ledger_.clients()) {
    client->buffered = std::max(0, client->buffered - client->reads);
    const bool pause = client->buffered > kReaderCap || (client->paused && client->buffered > kReaderCap / 2);
    if (!client->live() || pause == client->paused) continue;
    client->paused = pause;
    client->paused_at = ledger_.turn;
    outcome_.pauses += pause ? 1 : 0;
    if (ledger_.plant() != Plant::kPauseLost || !pause) engine_->set_paused(client->request.id, pause);
  }
}

void Simulation::turn(bool arrivals) {
  ++ledger_.turn;
  if (arrivals) happen();
  if (ledger_.broken()) return;
  readers();
  for (const auto& [due, id] : late_cancels_) {
    if (due == ledger_.turn) engine_->cancel(id);
  }
  ledger_.turn_began = clock_.now();
  stepped_ = engine_->turn();
  check_turn();
  if (!stepped_) clock_.advance(1'000'000);
}

void Simulation::check_turn() {
  if (ledger_.in_step()) ledger_.step_ends(resource_exhausted("no memory for the logits"));
  const bool failed = ledger_.failed_steps != outcome_.failed_steps;
  outcome_.failed_steps = ledger_.failed_steps;
  if (stepped_ && !failed) rules_.step_done(input_, planned_);
  const Status sound = engine_->audit();
  if (!sound.ok()) ledger_.broke(sound.to_string());
  if (bugs_found() != bugs_before_) ledger_.broke("the engine says that its bookkeeping is broken");
  const EngineStats stats = engine_->stats();
  if (stats.running + stats.waiting + stats.paused != ledger_.live()) ledger_.broke("requests are lost, or live twice");
  bool can_run = false;
  for (const auto& client : ledger_.clients()) {
    can_run = can_run || (client->live() && !client->paused);
    for (const Sample& sample : client->samples) check_sample(*client, sample);
    const std::int32_t most = kReaderCap + client->request.n * (1 + scenario_.drafts);
    if (client->reads < 1000 && client->buffered > most)
      ledger_.broke("more waits for a slow reader than its buffer holds");
  }
  if (!stepped_ && can_run) ledger_.broke("a turn without a step, though a request could run");
  if (ledger_.engine_failed && ledger_.live() > 0) ledger_.broke("the engine has failed, and requests wait");
  ledger_.note(static_cast<std::uint64_t>(stats.kv_blocks_used) << 32 | static_cast<std::uint64_t>(stats.running));
}

void Simulation::check_sample(const Client& client, const Sample& sample) {
  if (sample.finished) return;
  const std::int64_t turn = ledger_.turn;
  if (sample.cancelled != kNever && turn - sample.cancelled >= 1)
    ledger_.broke("cancelled two turns ago, and still live");
  const TimeNs deadline = client.request.deadline;
  if (deadline != 0 && ledger_.turn_began >= deadline) ledger_.broke("too late, and still live");
  if (sample.failed_steps >= 2) ledger_.broke("in two failed steps, and still live");
}

// No more faults, and every reader reads: all must end, in no more turns than there is work.
void Simulation::settle() {
  model_->stop_faults();
  device_.stop_faults();
  for (const auto& client : ledger_.clients()) client->reads = 1000;
  std::int64_t most = 20;
  for (const auto& client : ledger_.clients()) {
    const Request& request = client->request;
    const auto positions = static_cast<std::int64_t>(request.prompt.size()) + request.sampling.max_tokens;
    // Where ranks take blocks from running ones, a quantum of one token may cost all that was computed before it.
    const std::int64_t again = takes_from_running(scenario_.options.policy.kind) ? 4 + positions : 4;
    const std::int64_t held_back = 1 + scenario_.options.expert_batch_delay;
    if (client->live()) most += again * held_back * request.n * positions;
  }
  while (ledger_.live() > 0 && !ledger_.broken()) {
    if (most-- == 0) return ledger_.broke("requests that do not end");
    turn(false);
  }
}

void Simulation::last_check() {
  if (ledger_.broken()) return;
  turn(false);
  const EngineStats stats = engine_->stats();
  if (!engine_->idle()) ledger_.broke("all have ended, and the engine is not idle");
  if (stats.kv_blocks_used != 0) ledger_.broke("nobody is there, and blocks are held");
  if (stats.swap_bytes_used != 0) ledger_.broke("nobody is there, and copies of blocks are held");
  const auto ended = stats.finished_stop + stats.finished_length + stats.cancelled + stats.failed;
  if (static_cast<std::int64_t>(ended) != ledger_.accepted()) ledger_.broke("other ends are counted than were told");
}

Outcome Simulation::run() {
  while (ledger_.turn < scenario_.turns && !ledger_.broken()) turn(true);
  outcome_.destroyed = scenario_.destroys && ledger_.live() > 0;
  if (!ledger_.broken() && !scenario_.destroys) {
    settle();
    last_check();
  }
  outcome_.stats = engine_->stats();
  if (const SimExperts* experts = model_->experts()) {
    outcome_.expert_loads = experts->stats().transfer.loads;
    outcome_.expert_hits = experts->stats().hits;
    outcome_.expert_evictions = experts->stats().evictions;
    outcome_.expert_failures = experts->stats().transfer.failures;
  }
  ledger_.engine_ends = true;
  engine_.reset();
  if (ledger_.live() != 0) ledger_.broke("the engine is gone, and requests were told nothing");
  outcome_.broke = ledger_.first_break();
  outcome_.trace = ledger_.trace();
  outcome_.turns = ledger_.turn;
  outcome_.accepted = ledger_.accepted();
  outcome_.engine_failed = ledger_.engine_failed;
  return outcome_;
}

}  // namespace

Outcome simulate(std::uint64_t seed, Plant plant) {
  return Simulation(seed, plant).run();
}

}  // namespace foregate::sim
