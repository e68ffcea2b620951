// Which experts stay in a tier, as pure functions of what was used when. One instance per tier, driven by its owner on
// one thread (the engine thread, or a replay); equal calls, equal answers, so that a replayed trace hits as the engine
// did. The tier evicts, among the slots it may evict, the one of least keep_value(); equal values give way in key
// order. A missed expert enters its slot before it is judged, so admission needs no rule of its own: what is worth
// little is the next victim.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/policy_figures.h"
#include "engine/base/status.h"
#include "engine/experts/expert_key.h"
#include "engine/experts/use_counters.h"

namespace foregate {

enum class UsePhase : std::uint8_t { kDecode, kPrefill };

// The experts that one layer of one step needed, each once, hits and misses alike.
struct LayerUse {
  std::int64_t step = 0;  // counts steps of the engine, from 0
  LayerId layer;
  UsePhase phase = UsePhase::kDecode;     // kPrefill: the step held prompt rows beyond one token per sequence
  std::span<const std::int32_t> experts;  // ascending
  std::span<const std::int32_t> rows;     // rows of each in this step
  // kPrefill: of these, rows of sequences that decode beside the prompt; empty: none. All of a decode step do.
  std::span<const std::int32_t> decode_rows = {};
  // Of the rows of each, which with a prompt beside them are among its decode_rows: those of drafts, of which nobody
  // knows yet whether they stand; empty: none. A policy is never told of them (CountedUse), but of those that stood,
  // afterwards, as of decode steps of their own.
  std::span<const std::int32_t> drafted_rows = {};
};

// A layer's use as a policy is told of it: without the rows of drafts. One owner, one thread.
class CountedUse {
 public:
  // Valid until the next call, and as long as `use` is.
  LayerUse of(const LayerUse& use);

 private:
  std::vector<std::int32_t> experts_, rows_, decode_rows_;
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual std::string_view name() const = 0;
  // Called once per layer of a step, before the tier makes room for that layer's misses. A step of prompt and decode
  // rows counts as one of its decode rows and then one of its prompt rows.
  virtual void used(const LayerUse& use) = 0;
  // Higher: keep. Asked for resident experts at the time of the last used().
  virtual double keep_value(ExpertKey key) const = 0;
  // The chance that a token uses it, where the policy has one; what a load ahead is weighed against.
  virtual double reuse_chance(ExpertKey key) const { return keep_value(key); }
  // What a later run may start from (EvictionOptions::counters); empty where the policy has nothing to keep.
  virtual UseCounters counters() const { return {}; }
  // The tier has so many slots from now on (EvictionOptions::slots).
  virtual void set_slots(std::size_t slots) { static_cast<void>(slots); }
  virtual PolicyFigures figures() const { return {.now = name()}; }
};

class FutureUses;

struct EvictionOptions {
  std::vector<std::int32_t> experts;      // of each layer; 0: a layer without a router
  std::int32_t top_k = 1;                 // experts per row
  double half_life_tokens = 64;           // score: tokens of a layer after which a use counts half
  const UseCounters* counters = nullptr;  // score: where to start; null: knows nothing. Read during the call only
  std::size_t slots = 0;                  // auto: of the tier; 0: room for all
  std::vector<std::uint64_t> expert_bytes = {};  // auto: of each layer; empty: all alike
  const FutureUses* future = nullptr;            // belady: what will be used; must outlive the policy
};

// lru      the least recently used goes; prompt rows count like others
// lfu      the least often used goes; nothing is ever forgotten
// score    the one whose next use is expected last goes (score_policy.cpp)
// auto     that of the three above which would miss the fewest bytes, as a sample of layers shows (auto_policy.cpp)
// belady   the one whose next use is last goes: the bound of every policy, for a replay that knows the future
// kInvalidArgument for another name, for options out of range, for counters of another shape and a missing future.
Result<std::unique_ptr<EvictionPolicy>> make_eviction_policy(std::string_view name, const EvictionOptions& options);

// Names that make_eviction_policy() takes.
std::span<const std::string_view> eviction_policy_names();

}  // namespace foregate
