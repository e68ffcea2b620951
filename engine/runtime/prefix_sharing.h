// Between sequences and the prefix cache: what a waiting sequence may start with, for whom it should wait, and which
// blocks of a running one become known. Without a cache all of it does nothing. Owned by the loop, engine thread only.
#pragma once

#include <memory>
#include <string_view>

#include "engine/api/engine.h"
#include "engine/kv/kv_pools.h"
#include "engine/kv/prefix_cache.h"
#include "engine/runtime/sequence_table.h"
#include "engine/sched/batch_plan.h"

namespace foregate {

class PrefixSharing {
 public:
  // `pools` must outlive this. `enabled` false: nothing is shared. `window`: positions that a row sees of the main
  // group; 0: all.
  PrefixSharing(KvPools& pools, bool enabled, std::string_view model, std::int32_t window);
  bool enabled() const { return cache_ != nullptr; }

  // Plan: fills prefix and pending of the waiting views that could be admitted, `most` at most.
  // `ranked`: nobody waits for one of worse rank, which may not run for long.
  void fill(SequenceTable& sequences, SeqViews& views, std::int32_t most, bool ranked, EngineStats& stats);
  // The prefix of every waiting view, for a policy that goes by it.
  void look_up(SequenceTable& sequences, SeqViews& views);
  // Stage: takes over what the plan says. All entries before any block is reserved.
  static void share(const BatchPlan& plan, SequenceTable& sequences, KvStep& step);
  // Whether parts of prompts are to become known before the whole: blocks of the window group are given up by then.
  bool publishes_chunks() const { return enabled() && pools_.grouped(); }
  // Commit, for an entry whose logits were good.
  void note_admitted(const PlanEntry& entry, Sequence& seq, EngineStats& stats) const;
  void publish(Sequence& seq, EngineStats& stats);
  // After that: gives up the blocks that no row of `seq` reads any more; those that are known stay in the cache.
  void give_up_unread(Sequence& seq, EngineStats& stats);

  void figures(EngineStats& stats) const;
  Status audit() const { return enabled() ? cache_->audit() : Status(); }

 private:
  void match(SequenceTable& sequences, Sequence& seq);
  void match_tail(SequenceTable& sequences, Sequence& seq, std::int32_t full) const;
  void match_window(PrefixMatch& match) const;
  void publish_window(Sequence& seq, std::int32_t index, BlockId known);
  bool computes_next_of(const Sequence& other, const Sequence& seq) const;
  KvPools& pools_;
  BlockPool& pool_;  // the main one
  const std::int32_t window_;
  std::unique_ptr<PrefixCache> cache_;
};

}  // namespace foregate
