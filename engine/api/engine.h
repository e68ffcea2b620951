// The engine as front ends see it. All functions may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/api/hint_bytes.h"
#include "engine/api/live_sample.h"
#include "engine/api/policy_figures.h"
#include "engine/api/types.h"

namespace foregate {

// Receives the events of one request on the engine thread. Must not block and must not call
// back into the engine. The engine holds a reference until the last index has finished.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(TokenEvent event) = 0;
};

struct ModelInfo {
  std::string architecture;
  std::int64_t parameters = 0;
  std::int64_t active_parameters = 0;
  std::int32_t vocab_size = 0;
  std::int32_t max_model_len = 0;
  std::vector<Token> eos_token_ids;
  std::string device;  // what computes, e.g. "cpu avx512 2 threads"
};

// What a store of experts did, when there is one. Counters never fall.
struct ExpertFigures {
  std::uint64_t hits = 0;    // experts a layer needed that were in memory
  std::uint64_t misses = 0;  // that were not
  std::uint64_t late = 0;    // of the misses: on their way by a hint
  std::uint64_t evictions = 0;
  std::uint64_t loads = 0;
  std::uint64_t loaded_bytes = 0;
  std::uint64_t load_retries = 0;
  std::uint64_t load_failures = 0;
  std::uint64_t hints = 0;
  std::uint64_t hints_useful = 0;
  std::uint64_t hints_wasted = 0;
  std::uint64_t token_hints = 0;  // of the hints: by the tokens of a step, before it began
  std::uint64_t token_hints_useful = 0;
  std::uint64_t token_hints_wasted = 0;
  std::uint64_t token_guesses = 0;        // experts that rows of known tokens were expected to use
  std::uint64_t token_guesses_right = 0;  // that they did
  std::uint64_t certain = 0;              // experts of routes known before their layer ran
  std::uint64_t certain_right = 0;        // that the layer then used
  std::uint64_t certain_hints = 0;        // loads begun for them
  std::uint64_t certain_useful = 0;       // that had ended when the layer began
  std::uint64_t certain_late = 0;         // that had not
  HintBytes hint_bytes;                   // of guesses
  HintBytes certain_bytes;                // of routes known before their layer ran
  std::uint64_t ahead = 0;                // of prompts: loads begun for the layer after the one that ran
  std::uint64_t ahead_useful = 0;         // that it used
  std::uint64_t ahead_late = 0;           // of them: on their way when it began
  std::uint64_t ahead_wasted = 0;         // that it did not use
  std::uint64_t sweeps = 0;               // layers of decode steps that were read in order, ahead of one another
  std::uint64_t repeated_loads = 0;       // loads beyond the first between two runs of a layer; 0: at most one a step
  std::uint64_t guesses = 0;              // experts that the lookahead guessed for rows
  std::uint64_t guesses_right = 0;        // that the rows were routed to
  std::uint64_t guesses_right_plain = 0;  // that they were, had the guesses not been corrected; shadow mode counts it
  std::uint64_t mixed_guesses = 0;        // of the guesses: for rows beside those of prompts
  PolicyFigures policy;                   // which experts stay
  double stall_seconds = 0.0;             // steps waited with no expert ready
  double read_seconds = 0.0;              // reads were in flight
  std::uint64_t slots = 0;
  std::uint64_t slots_used = 0;
  std::uint64_t slot_bytes = 0;
  double costed_read_rate = 0.0;  // bytes/s of loads as the cost model averages them; 0: none yet
};

// Experts in the memory of a device, in front of those in host memory; counters never fall.
struct TierFigures {
  std::uint64_t hits = 0;    // experts a layer needed that the device had
  std::uint64_t misses = 0;  // that it had not; experts of layers that the host computes are neither
  std::uint64_t fetched = 0;
  std::uint64_t fetched_bytes = 0;
  std::uint64_t host_computed = 0;  // experts that the host computed
  double host_seconds = 0.0;        // in so long
  std::uint64_t evictions = 0;
  std::uint64_t ahead = 0;  // of the fetched: begun before their layer
  std::uint64_t ahead_useful = 0;
  std::uint64_t ahead_wasted = 0;
  std::uint64_t slots = 0;
  std::uint64_t slots_used = 0;
  std::uint64_t slot_bytes = 0;
  double link_bytes_per_second = 0.0;  // as measured; 0: not yet
  bool staged = false;                 // host memory could not be pinned
};

// Dense weights of layers that pass through a window of memory; counters never fall.
struct DenseFigures {
  std::uint64_t layers = 0;           // of the model
  std::uint64_t layers_streamed = 0;  // of them
  std::uint64_t ready = 0;            // streamed layers that were there when a step came to them
  std::uint64_t late = 0;             // that were not
  std::uint64_t loads = 0;
  std::uint64_t loaded_bytes = 0;
  std::uint64_t load_retries = 0;
  std::uint64_t load_failures = 0;
  double stall_seconds = 0.0;  // steps waited for them
  std::uint64_t slot_bytes = 0;
};

// One budget that KV blocks and slots of experts share; counters never fall.
struct ElasticFigures {
  std::int64_t budget_bytes = 0;
  std::int64_t cache_bytes = 0;   // of it: KV blocks that are there
  std::int64_t expert_bytes = 0;  // slots that are there
  std::uint64_t slots = 0;
  std::uint64_t moves_to_cache = 0;
  std::uint64_t moves_to_experts = 0;
  std::uint64_t bytes_to_cache = 0;
  std::uint64_t bytes_to_experts = 0;
};

// What speculation did; counters never fall.
struct SpecFigures {
  std::uint64_t drafts = 0;                // that a step computed rows for
  std::uint64_t draft_tokens = 0;          // in them
  std::uint64_t accepted_tokens = 0;       // of these
  std::vector<std::uint64_t> accepted_at;  // of these, by place in the draft, of a tree by depth
  std::uint64_t trees = 0;                 // of the drafts, those that branch
  std::uint64_t tree_nodes = 0;            // tokens in them
  std::uint64_t tree_nodes_accepted = 0;   // of these
  std::uint64_t branches_accepted = 0;     // trees of which another branch than the first stood furthest
  std::uint64_t positions_moved = 0;       // keys and values that were copied for it, positions
  std::uint64_t gated = 0;                 // turns in which a draft was not expected to gain
  std::uint64_t probes = 0;                // drafts made all the same, to see whether that still holds
  std::uint64_t spoilt = 0;                // drafts beside which a row was not finite
};

// A snapshot; counters never fall.
struct EngineStats {
  std::int64_t running = 0;
  std::int64_t waiting = 0;
  std::int64_t deferred = 0;  // of the waiting: for a prefix that another one computes
  std::int64_t paused = 0;
  std::int64_t kv_blocks_total = 0;  // that are there
  std::int64_t kv_blocks_used = 0;
  std::int64_t kv_window_blocks_total = 0;  // of these, for layers with a window alone; 0: they share the others
  std::int64_t kv_window_blocks_used = 0;
  double kv_usage = 0.0;  // share of their bytes in use, 0 to 1
  std::uint64_t steps = 0;
  std::uint64_t batched_steps = 0;     // steps that held rows of more than one sequence
  std::uint64_t chunked_prefills = 0;  // prefill parts that were not the whole prompt
  std::uint64_t prompt_tokens = 0;
  std::uint64_t generated_tokens = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t swaps_out = 0;          // of the preemptions: by a copy of the blocks in host memory
  std::uint64_t swaps_in = 0;           // copies taken back
  std::int64_t swap_bytes_used = 0;     // copies held now
  std::uint64_t policy_demotions = 0;   // levels that sequences fell under mlfq
  std::uint64_t policy_promotions = 0;  // sequences brought up because they had waited for long
  std::uint64_t policy_refills = 0;     // rounds of new deficit under dlpm
  std::uint64_t expert_held_back = 0;   // rows put off because their experts were not in memory
  std::uint64_t prefix_queries = 0;     // prompt tokens that were looked up in the prefix cache
  std::uint64_t prefix_hits = 0;        // of these, found: not computed
  std::uint64_t resume_hits = 0;        // tokens of preempted sequences found when they came back
  std::uint64_t prefix_waits = 0;       // samples that waited for another one computing the same prefix
  std::uint64_t prefix_copies = 0;      // blocks copied because their end was to be written
  std::uint64_t prefix_merges = 0;      // blocks given up for another one with the same contents
  std::uint64_t prefix_evictions = 0;
  std::uint64_t window_blocks_freed = 0;  // that no layer's window reached any more
  std::int64_t kv_blocks_kept = 0;        // free, with contents that the prefix cache knows
  std::uint64_t refused = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t failed = 0;
  std::uint64_t finished_stop = 0;
  std::uint64_t finished_length = 0;
  std::uint64_t nonfinite_rows = 0;
  std::uint64_t graph_launches = 0;    // steps that were given to a GPU as one
  std::uint64_t library_products = 0;  // dense products that a GPU's library did
  std::uint64_t library_refused = 0;   // that it should have done and knows no way for
  std::uint64_t device_sampled = 0;    // rows whose token the model's device chose: their logits stayed there
  TimeNs last_step_end = 0;
  std::optional<ExpertFigures> experts;    // none: all experts are in memory
  std::optional<TierFigures> tier;         // none: no device in front of them
  std::optional<DenseFigures> dense;       // none: so are all dense weights
  std::optional<SpecFigures> speculation;  // none: nothing drafts
  std::optional<ElasticFigures> elastic;   // none: blocks and slots stay as many as they are
};

class Engine {
 public:
  virtual ~Engine() = default;
  // kResourceExhausted when the queue is full, kUnavailable when draining or failed,
  // kInvalidArgument when the request can never fit. On ok exactly one finish per index follows.
  virtual Status submit(Request request, std::shared_ptr<EventSink> sink) = 0;
  // What submit() would say now to the least request of this client, in constant time: kResourceExhausted with its
  // reason, so that nobody reads or parses a body only to refuse it. What is refused here counts as refused.
  virtual Status check_room(std::uint64_t client) {
    static_cast<void>(client);
    return {};
  }
  // Ends every index that has not finished with kCancelled. Unknown or finished ids are ignored.
  virtual void cancel(RequestId id) = 0;
  virtual void cancel(RequestId id, std::int32_t index) = 0;
  // A paused request keeps its blocks and is not scheduled: the back-pressure of a slow reader.
  virtual void set_paused(RequestId id, bool paused) = 0;
  // Refuses new work from now on; running work goes on. idle() tells when all has ended.
  virtual void begin_drain() = 0;
  virtual bool idle() const = 0;
  // False once the engine has failed for good or one step runs longer than its limit. A busy engine
  // whose steps end is healthy, and so is one with nothing to do.
  virtual bool healthy() const { return true; }
  virtual EngineStats stats() const = 0;  // as of the last turn
  // Every sample that was live at the end of the last turn, by arrival; what was submitted since is not among them.
  virtual std::vector<LiveSample> live() const { return {}; }
  // Makes a turn soon, also while there is nothing to do: figures and answers (ExpertBoard) become those of now.
  virtual void refresh() {}
  virtual const ModelInfo& model() const = 0;
  virtual const Limits& limits() const = 0;
};

}  // namespace foregate
