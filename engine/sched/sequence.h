// The only mutable state of one sample of a request: its tokens, how far they are computed, and its
// blocks. Owned by the runtime, engine thread only (INV-1). The scheduler sees a SeqView instead.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/api/engine.h"
#include "engine/api/types.h"
#include "engine/base/ids.h"
#include "engine/kv/block_key.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/block_table.h"
#include "engine/sched/policy_mlfq.h"

namespace foregate {

// What of a waiting sequence's tokens is in blocks that others computed. Good for one turn.
struct PrefixMatch {
  std::vector<BlockId> blocks;
  std::optional<BlockId> tail;
  std::int32_t tail_tokens = 0;
  // Of the window group: blocks number window_first, ... beside the last of `blocks`, and the one beside the tail.
  std::int32_t window_first = 0;
  std::vector<BlockId> window_blocks;
  std::optional<BlockId> window_tail;
};

struct Sequence {
  SeqId id;  // ascending in order of arrival
  std::int32_t index = 0;
  std::shared_ptr<const Request> request;
  std::shared_ptr<EventSink> sink;
  std::uint64_t seed = 0;

  std::unique_ptr<ConstraintState> constraint;  // where its output is in the form that was asked for; may be null
  std::vector<Token> tokens;                    // prompt, then output
  std::int32_t computed = 0;                    // positions whose keys and values are in the cache
  std::vector<Token> draft;                     // guessed to follow the tokens; good for one turn
  std::vector<float> draft_sure;                // how probable the drafter held each; may be empty
  std::vector<std::int32_t> draft_parents;      // of a tree, depth first (Draft::parents); empty: a chain
  std::vector<std::int32_t> draft_path;         // of a tree: its tokens that stand, after the step
  BlockTable blocks;                            // empty while it waits
  BlockTable window_blocks;                     // likewise, of the window group; always empty where there is none
  bool running = false;                         // admitted: holds blocks
  bool paused = false;                          // its reader is slow; keeps its blocks, is not planned
  bool suspect = false;                         // was in a failed step; runs alone until one of its steps succeeds
  bool plain_only = false;                      // a step failed in which it had a draft: it gets no more
  bool finished = false;                        // its finish is emitted; nothing follows (INV-5)
  std::vector<BlockKey> keys;                   // of its full blocks, as far as they were asked for
  std::int32_t published = 0;                   // leading blocks of its table that the prefix cache knows, or knew
  bool unpublishable = false;                   // the cache takes no more of them
  PrefixMatch match;                            // while it waits
  std::int32_t saved = 0;                       // while it waits: first positions whose contents are in host memory
  std::int32_t saved_window_first = 0;          // of the window group, number of the first block that is saved
  std::int32_t reached = 0;                     // positions that were ever computed for it or taken over
  MlfqState mlfq;                               // what that policy remembers of it
  std::int32_t held_back = 0;                   // steps in a row in which it ran no row because of its experts
  bool pending = false;                         // waits for a prefix that another sequence computes
  std::int32_t cached_tokens = -1;              // of the prompt, not computed when it was first admitted
  std::int32_t preemptions = 0;
  std::int32_t fatal_steps = 0;

  std::vector<PositionLogprobs> prompt_logprobs;  // of the positions done so far, when asked for
  bool prompt_logprobs_sent = false;

  TimeNs queued_at = 0;
  TimeNs first_run_at = -1;
  TimeNs first_token_at = -1;
  TimeNs last_token_at = -1;

  std::int32_t prompt_tokens() const { return static_cast<std::int32_t>(request->prompt.size()); }
  std::int32_t total_tokens() const { return static_cast<std::int32_t>(tokens.size()); }
  std::int32_t output_tokens() const { return total_tokens() - prompt_tokens(); }
  std::span<const Token> output() const { return std::span(tokens).subspan(static_cast<std::size_t>(prompt_tokens())); }
  bool wants_prompt_logprobs() const { return request->prompt_logprobs.has_value() && !prompt_logprobs_sent; }
};

// Positions that are ever written for a request: the last token of an output has no successor.
inline std::int64_t max_positions(const Request& request) {
  return static_cast<std::int64_t>(request.prompt.size()) + request.sampling.max_tokens - 1;
}

}  // namespace foregate
