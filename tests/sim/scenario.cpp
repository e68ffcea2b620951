#include "tests/sim/scenario.h"

#include <string>

namespace foregate::sim {
namespace {

void draw_policy(Dice& dice, EngineOptions& options) {
  constexpr PolicyKind kKinds[] = {PolicyKind::kFcfs, PolicyKind::kFcfs, PolicyKind::kPriority, PolicyKind::kMlfq,
                                   PolicyKind::kDlpm};
  options.policy.kind = kKinds[dice.range(0, 4)];
  options.policy.mlfq.levels = dice.range(2, 4);
  options.policy.mlfq.quantum = dice.range(1, 8);
  options.policy.mlfq.promote_after = dice.range(1, 40);
  options.policy.dlpm.quantum = dice.range(1, 40);
  options.policy.dlpm.look_ahead = dice.range(1, 8);
}

void draw_faults(Dice& dice, Scenario& s) {
  if (dice.chance(0.3)) s.faults.fails = 0.05;
  if (dice.chance(0.3)) s.faults.loses = 0.05;
  if (dice.chance(0.02)) s.faults.dies = 0.01;
  if (dice.chance(0.3)) s.faults.is_slow = 0.1;
  if (dice.chance(0.2)) s.allocation_fails = 0.3;
  if (dice.chance(0.5)) s.cancels = 0.15;
  if (dice.chance(0.5)) s.slow_readers = 0.3;
  if (dice.chance(0.4)) s.deadlines = 0.3;
  if (dice.chance(0.1)) s.drain_at = dice.range(1, s.turns);
  s.destroys = dice.chance(0.1);
}

// Models of both kinds of layers, and blocks for those with a window alone.
void draw_groups(std::uint64_t seed, Scenario& s) {
  Dice dice(seed, 12);
  if (s.elastic.on) return;
  if (s.window.positions == 0 && dice.chance(0.4)) s.window.positions = dice.range(2, 12);
  if (s.window.positions == 0) return;
  s.window.mixed = dice.chance(0.6);
  if (!s.options.free_window_blocks || !dice.chance(0.75)) return;
  s.window_blocks = dice.range(3, static_cast<std::int32_t>(s.num_blocks));
}

// Few, since each has a thread that ends loads.
void draw_experts(std::uint64_t seed, Scenario& s) {
  Dice dice(seed, 14);
  s.experts.on = !s.elastic.on && dice.chance(0.04);
  s.experts.slots = dice.range(3, kExperts);
  s.experts.fails = dice.chance(0.5) ? 0.1 : 0.0;
}

}  // namespace

Scenario draw_scenario(std::uint64_t seed) {
  Dice dice(seed, 1);
  Scenario s;
  s.block_size = dice.range(1, 5);
  s.num_blocks = dice.range(8, 40);
  s.limits.max_model_len = 64;
  s.limits.vocab_size = kVocab;
  EngineOptions& o = s.options;
  o.model_name = "sim";
  o.seed = seed;
  o.max_num_seqs = dice.range(1, 6);
  o.max_num_batched_tokens = dice.range(1, 30);
  o.max_num_queued_reqs = dice.range(0, 8);
  o.max_prefill_chunk = dice.chance(0.3) ? dice.range(1, 9) : 0;
  o.max_logit_rows = dice.range(1, 9);
  o.max_num_queued_tokens = dice.chance(0.3) ? dice.range(10, 60) : 0;
  o.max_client_share = dice.chance(0.3) ? dice.range(20, 80) : 100;
  o.prefix_caching = dice.chance(0.8);
  o.max_fatal_steps = dice.chance(0.1) ? 2 : 1000;
  o.target_itl_seconds = dice.chance(0.2) ? 0.0011 : 0.0;
  draw_policy(dice, o);
  if (dice.chance(0.5)) {
    o.preemption = dice.chance(0.7) ? PreemptionMode::kSwap : PreemptionMode::kAuto;
    o.swap_space_bytes = dice.range(0, 40) * 32LL * s.block_size;
  }
  if (dice.chance(0.4)) {
    s.drafts = dice.range(1, 5);
    s.adaptive = dice.chance(0.3);
    s.draft_errs = 0.3;
  }
  s.turns = dice.range(10, 60);
  s.arrivals = dice.chance(0.2) ? 1.5 : 0.4;
  draw_faults(dice, s);
  Dice later(seed, 9);  // what was added since: seeds stand for what they did before
  if (later.chance(0.3)) s.window.positions = later.range(2, 12);
  o.free_window_blocks = later.chance(0.9);
  o.expert_batch_delay = later.chance(0.3) ? later.range(1, 6) : 0;
  if (later.chance(0.3)) s.elastic = draw_elastic(later, s.block_size, s.num_blocks);
  draw_groups(seed, s);
  draw_experts(seed, s);
  return s;
}

Request draw_request(Dice& dice, std::uint64_t id, const Scenario& s, TimeNs now) {
  Request request;
  request.id = RequestId{id};
  // Prompts of a few families, so that many begin the same.
  Dice words(static_cast<std::uint64_t>(dice.range(0, 3)), 77);
  const std::int32_t length = dice.range(1, 22);
  for (std::int32_t i = 0; i < length; ++i) request.prompt.push_back(words.range(0, kVocab - 1));
  if (dice.chance(0.2)) request.prompt.push_back(dice.range(0, kVocab - 1));
  request.n = dice.chance(0.15) ? dice.range(2, 3) : 1;
  request.cache_salt = std::string(static_cast<std::size_t>(dice.range(0, 2)), 's');
  request.client = static_cast<std::uint64_t>(dice.range(0, 3));
  request.priority = dice.range(0, 2);
  SamplingParams& p = request.sampling;
  p.max_tokens = dice.range(1, 20);
  p.seed = id;
  p.temperature = dice.chance(0.5) ? 0.0f : 0.9f;
  p.ignore_eos = dice.chance(0.5);
  if (dice.chance(0.2)) p.presence_penalty = 0.7f;
  if (dice.chance(0.1)) request.prompt_logprobs = 1;
  if (dice.chance(0.15)) {
    request.constraint = ring_constraint(dice.range(0, 3), dice.chance(0.2) ? dice.range(1, 6) : 1000);
  }
  if (dice.chance(s.deadlines)) request.deadline = now + dice.range(1, 40) * 1'000'000LL;
  request.arrival = now;
  return request;
}

}  // namespace foregate::sim
