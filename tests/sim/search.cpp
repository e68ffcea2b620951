#include "tests/sim/search.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <unordered_set>
#include <vector>

#include "engine/runtime/engine_impl.h"
#include "tests/sim/rules.h"
#include "tests/sim/sim_device.h"
#include "tests/sim/sim_model.h"

namespace foregate::sim {
namespace {

constexpr std::int32_t kRequests = 3;
constexpr std::int32_t kBlocks = 4;
constexpr std::int32_t kBlockSize = 2;
constexpr std::int32_t kMostTurns = 60;  // in which all must end when nothing more happens

// What happens before a turn.
enum class Act : std::uint8_t { kNothing, kSubmit, kFail, kLose, kCancel, kPause = kCancel + kRequests };
constexpr int kActs = static_cast<int>(Act::kPause) + kRequests;
using Path = std::vector<std::uint8_t>;

std::string text_of(const Path& path) {
  static const char* const kNames[] = {"nothing",  "submit",   "fail",    "lose",    "cancel 1",
                                       "cancel 2", "cancel 3", "pause 1", "pause 2", "pause 3"};
  static_assert(std::size(kNames) == kActs);
  std::string text;
  for (const std::uint8_t act : path) text += (text.empty() ? "" : ", ") + std::string(kNames[act]);
  return text;
}

// The first two begin the same; together the three want more blocks than there are.
Request request_of(std::int32_t number) {
  static const std::vector<Token> kPrompts[kRequests] = {{1, 2, 3}, {1, 2, 4}, {5}};
  constexpr std::int32_t kTokens[kRequests] = {3, 2, 4};
  Request request;
  request.id = RequestId{static_cast<std::uint64_t>(number) + 1};
  request.prompt = kPrompts[number];
  request.sampling.max_tokens = kTokens[number];
  request.sampling.temperature = 0.0f;
  request.sampling.ignore_eos = true;
  request.sampling.seed = 1;
  request.priority = kRequests - number;
  return request;
}

EngineOptions options_of(const SearchScope& scope) {
  EngineOptions options;
  options.model_name = "search";
  options.max_num_seqs = 2;
  options.max_num_batched_tokens = 3;
  options.max_num_queued_reqs = kRequests;
  options.policy.kind = scope.policy;
  options.preemption = scope.preemption;
  options.swap_space_bytes = 1 << 10;
  options.max_fatal_steps = 1000;
  return options;
}

// One run from the beginning.
class Run {
 public:
  Run(const SearchScope& scope, Plant plant)
      : scope_(scope),
        ledger_(plant, clock_),
        device_(1, 0.0, false),
        dice_(1, 3),
        options_(options_of(scope)),
        rules_(ledger_, options_, kBlocks * kBlockSize) {
    ledger_.max_fatal_steps = options_.max_fatal_steps;
    engine_ = std::make_unique<EngineImpl>(parts(), Drive::kCaller);
  }

  bool may(Act act) const {
    if (act == Act::kNothing) return true;
    if (act == Act::kSubmit) return sent_ < kRequests;
    if (disturbed_ >= scope_.disturbances && !ends_a_pause(act)) return false;
    if (act == Act::kFail || act == Act::kLose) return ledger_.live() > 0;
    const Client* client = client_of(act);
    return client != nullptr && client->live() && (act >= Act::kPause || client->samples[0].cancelled == kNever);
  }

  void take(Act act) {
    ++ledger_.turn;
    if (act != Act::kNothing && act != Act::kSubmit && !ends_a_pause(act)) ++disturbed_;
    begin(act);
    ledger_.turn_began = clock_.now();
    const bool stepped = engine_->turn();
    model_->set_faults({.drawn = false});
    check(stepped);
  }

  // Nothing more happens: all must end.
  void settle() {
    for (const auto& client : ledger_.clients()) {
      if (!client->paused) continue;
      client->paused = false;
      engine_->set_paused(client->request.id, false);
    }
    for (int turns = 0; ledger_.live() > 0 && broke().empty(); ++turns) {
      if (turns == kMostTurns) return ledger_.broke("requests that do not end");
      take(Act::kNothing);
    }
    take(Act::kNothing);
    const EngineStats stats = engine_->stats();
    if (stats.kv_blocks_used != 0 || stats.swap_bytes_used != 0) ledger_.broke("nobody is there, and memory is held");
  }

  std::uint64_t state() const;
  const std::string& broke() const { return ledger_.first_break(); }
  std::int64_t turns() const { return ledger_.turn; }
  EngineStats stats() const { return engine_->stats(); }

 private:
  EngineParts parts() {
    EngineParts parts;
    auto model = std::make_unique<SimModel>(1, ledger_, clock_, ModelFaults{.drawn = false}, scope_.window);
    KvLayout layout = model->kv_layout(DType::kF32, kBlockSize);
    layout.grouped = scope_.window_blocks > 0;
    auto cache = KvCache::create(device_, layout, kBlocks, scope_.window_blocks);
    CHECK(cache.ok());
    model_ = model.get();
    parts.model = std::move(model);
    parts.device = &device_;
    parts.cache = std::move(cache).value();
    parts.options = options_;
    parts.info.vocab_size = parts.limits.vocab_size = kVocab;
    parts.info.eos_token_ids = {kEos};
    parts.limits.max_model_len = kBlocks * kBlockSize;
    parts.clock = &clock_;
    parts.planner = [this](const PlanInput& input, const SchedLimits& limits) {
      input_ = hash_of(input);
      plan_ = ledger_.plant() == Plant::kNone ? plan_step(input, limits)
                                              : planted_plan(ledger_.plant(), input, limits, dice_, [this](SeqId id) {
                                                  return ledger_.of(id).client->paused;
                                                });
      rules_.judge(input, plan_);
      ledger_.step_begins(plan_);
      return plan_;
    };
    return parts;
  }

  const Client* client_of(Act act) const {
    const auto number = (static_cast<int>(act) - static_cast<int>(Act::kCancel)) % kRequests;
    return ledger_.of_request(static_cast<std::uint64_t>(number) + 1);
  }
  bool ends_a_pause(Act act) const { return act >= Act::kPause && client_of(act) != nullptr && client_of(act)->paused; }

  void begin(Act act) {
    if (act == Act::kNothing) return;
    if (act == Act::kSubmit) {
      const auto client = ledger_.add(request_of(sent_++));
      const Status got = engine_->submit(client->request, client);
      return got.ok() ? ledger_.accept(client) : ledger_.broke("refused: " + got.to_string());
    }
    if (act == Act::kFail) return model_->set_faults({.fails = 1.0, .drawn = false});
    if (act == Act::kLose) return model_->set_faults({.loses = 1.0, .drawn = false});
    Client& client = *ledger_.of_request(client_of(act)->request.id.value);
    if (act < Act::kPause) {
      client.samples[0].cancelled = ledger_.turn;
      return engine_->cancel(client.request.id);
    }
    client.paused = !client.paused;
    client.paused_at = ledger_.turn;
    engine_->set_paused(client.request.id, client.paused);
  }

  void check(bool stepped) {
    if (ledger_.in_step()) ledger_.step_ends(resource_exhausted("no memory for the logits"));
    failed_ = ledger_.failed_steps != failed_steps_;
    failed_steps_ = ledger_.failed_steps;
    const Status sound = engine_->audit();
    if (!sound.ok()) ledger_.broke(sound.to_string());
    const EngineStats stats = engine_->stats();
    if (stats.running + stats.waiting + stats.paused != ledger_.live())
      ledger_.broke("requests are lost, or live twice");
    for (const auto& client : ledger_.clients()) {
      const Sample& sample = client->samples[0];
      if (sample.finished) continue;
      if (!stepped && !client->paused) ledger_.broke("a turn without a step, though a request could run");
      if (sample.cancelled != kNever && ledger_.turn > sample.cancelled) ledger_.broke("cancelled, and still live");
      if (sample.failed_steps >= 2) ledger_.broke("in two failed steps, and still live");
    }
  }

  std::uint64_t hash_of(const PlanInput& input) const;
  struct Names {
    std::vector<std::int32_t> main;
    std::vector<std::int32_t> window;
  };
  std::uint64_t hash_of(const SeqView& view, Names& names) const;
  std::uint64_t hash_of(std::span<const std::int32_t> refs, const std::vector<std::int32_t>& names, KvGroup group,
                        std::uint64_t hash) const;

  const SearchScope scope_;
  SimClock clock_;
  Ledger ledger_;
  SimDevice device_;
  Dice dice_;
  const EngineOptions options_;
  Rules rules_;
  SimModel* model_ = nullptr;  // the engine's
  std::unique_ptr<EngineImpl> engine_;
  std::int32_t sent_ = 0;
  std::int32_t disturbed_ = 0;
  std::int64_t failed_steps_ = 0;
  bool failed_ = false;
  std::uint64_t input_ = 0;
  BatchPlan plan_;
};

// `names`: of blocks, in the order in which they appear.
std::uint64_t hash_of(std::span<const BlockId> blocks, std::uint64_t hash, std::vector<std::int32_t>& names) {
  for (const BlockId block : blocks) {
    auto name = std::ranges::find(names, block.value);
    if (name == names.end()) name = names.insert(names.end(), block.value);
    hash = mix(hash, static_cast<std::uint64_t>(name - names.begin()));
  }
  return hash;
}

std::uint64_t Run::hash_of(const SeqView& view, Names& names) const {
  std::uint64_t hash = kNoHistory;
  for (const std::int64_t part :
       {static_cast<std::int64_t>(view.id.value), std::int64_t{view.tokens}, std::int64_t{view.computed},
        std::int64_t{view.blocks}, std::int64_t{view.window_blocks}, std::int64_t{view.rank}, std::int64_t{view.saved},
        std::int64_t{view.saved_window_first}, std::int64_t{view.prefix.tail_tokens},
        std::int64_t{view.prefix.window_first}, std::int64_t{view.paused}, std::int64_t{view.was_preempted},
        std::int64_t{view.pending}, static_cast<std::int64_t>(view.prefix.blocks.size())}) {
    hash = mix(hash, static_cast<std::uint64_t>(part));
  }
  const auto add = [&](std::span<const BlockId> table, std::span<const BlockId> prefix, std::optional<BlockId> tail,
                       std::vector<std::int32_t>& of) {
    hash = sim::hash_of(prefix, sim::hash_of(table, hash, of), of);
    if (tail) hash = sim::hash_of({&*tail, 1}, hash, of);
  };
  add(view.table, view.prefix.blocks, view.prefix.tail, names.main);
  add(view.window_table, view.prefix.window_blocks, view.prefix.window_tail, names.window);
  return hash;
}

// Of all blocks of a group: by name, and the others in the order of what they hold.
std::uint64_t Run::hash_of(std::span<const std::int32_t> refs, const std::vector<std::int32_t>& names, KvGroup group,
                           std::uint64_t hash) const {
  const auto held = [&](std::int32_t block) {
    return mix(model_->contents(block, group), static_cast<std::uint64_t>(refs[static_cast<std::size_t>(block)]));
  };
  std::vector<std::uint64_t> others;
  for (std::int32_t block = 0; block < static_cast<std::int32_t>(refs.size()); ++block) {
    if (std::ranges::find(names, block) == names.end()) others.push_back(held(block));
  }
  std::ranges::sort(others);
  for (const std::int32_t block : names) hash = mix(hash, held(block));
  for (const std::uint64_t other : others) hash = mix(hash, other);
  return hash;
}

std::uint64_t Run::hash_of(const PlanInput& input) const {
  std::uint64_t hash = mix(kNoHistory, static_cast<std::uint64_t>(input.free_blocks * 64 + input.free_window_blocks));
  Names names;
  for (const SeqView& view : input.running) hash = mix(hash, hash_of(view, names));
  hash = mix(hash, 99);
  for (const SeqView& view : input.waiting) hash = mix(hash, hash_of(view, names));
  hash = hash_of(input.refs, names.main, KvGroup::kMain, hash);
  return hash_of(input.window_refs, names.window, KvGroup::kWindow, hash);
}

std::uint64_t Run::state() const {
  std::uint64_t hash = mix(input_, static_cast<std::uint64_t>(sent_ * 64 + disturbed_ * 2 + (failed_ ? 1 : 0)));
  for (const char c : plan_.to_string()) hash = mix(hash, static_cast<std::uint64_t>(c));
  for (const auto& client : ledger_.clients()) {
    const Sample& s = client->samples[0];
    const std::uint64_t flags = (s.finished ? 1 : 0) | (s.cancelled != kNever ? 2 : 0) | (client->paused ? 4 : 0) |
                                (s.suspect ? 8 : 0) | (s.may_lose_row ? 16 : 0);
    hash = mix(mix(hash, flags), s.got.size() * 8 + static_cast<std::uint64_t>(s.failed_steps));
  }
  const EngineStats stats = engine_->stats();
  return mix(hash, static_cast<std::uint64_t>(stats.kv_blocks_kept * 64 + stats.kv_blocks_used));
}

void keep_most(const EngineStats& from, EngineStats& most) {
  most.preemptions = std::max(most.preemptions, from.preemptions);
  most.swaps_in = std::max(most.swaps_in, from.swaps_in);
  most.prefix_hits = std::max(most.prefix_hits, from.prefix_hits);
  most.prefix_evictions = std::max(most.prefix_evictions, from.prefix_evictions);
  most.nonfinite_rows = std::max(most.nonfinite_rows, from.nonfinite_rows);
  most.window_blocks_freed = std::max(most.window_blocks_freed, from.window_blocks_freed);
}

}  // namespace

SearchResult search(const SearchScope& scope, std::int64_t most_states, Plant plant) {
  SearchResult result;
  std::unordered_set<std::uint64_t> seen;
  std::deque<Path> open = {{}};
  while (!open.empty() && result.states < most_states) {
    const Path path = std::move(open.front());
    open.pop_front();
    for (int act = 0; act < kActs; ++act) {
      Run run(scope, plant);
      for (const std::uint8_t before : path) run.take(static_cast<Act>(before));
      if (!run.may(static_cast<Act>(act))) continue;
      run.take(static_cast<Act>(act));
      const bool fresh = run.broke().empty() && seen.insert(run.state()).second;
      if (fresh) run.settle();
      result.turns += run.turns();
      Path next = path;
      next.push_back(static_cast<std::uint8_t>(act));
      if (!run.broke().empty()) {
        result.broke = run.broke() + " after: " + text_of(next);
        return result;
      }
      if (!fresh) continue;
      keep_most(run.stats(), result.seen);
      ++result.states;
      result.depth = std::max(result.depth, static_cast<std::int32_t>(next.size()));
      open.push_back(std::move(next));
    }
  }
  result.closed = open.empty();
  return result;
}

}  // namespace foregate::sim
