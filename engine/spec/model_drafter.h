// A smaller model of the same tokens drafts, greedily, or the trees of its most probable tokens: it follows each
// sequence in a cache of its own and runs once for the whole batch per drafted token, or per depth of the trees. What
// it has not seen of a sequence it catches up on when it is asked about it, a bounded number of rows at a time; until
// then it declines. Memory is what the cache was made with: when that runs out, sequences asked about least lately are
// forgotten first. Engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model.h"
#include "engine/spec/draft_rows.h"
#include "engine/spec/drafter.h"
#include "engine/spec/greedy_guess.h"
#include "kernels/api/device.h"

namespace foregate {

struct ModelDrafterOptions {
  std::int32_t max_rows = 256;     // of one run of the model; at least the sequences of one turn
  std::int32_t vocab_size = 0;     // of the target: greater ids are never drafted
  std::int32_t max_positions = 0;  // that the draft model was made for
  std::vector<Token> tokens = {};  // that it has logits of, ascending; empty: all
};

class ModelDrafter final : public Drafter {
 public:
  // `device` must outlive this; `cache` is empty and has the layout of `model`.
  ModelDrafter(std::unique_ptr<Model> model, Device& device, KvCache cache, ModelDrafterOptions options);
  void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) override;
  std::int32_t vocabulary() const override { return static_cast<std::int32_t>(options_.tokens.size()); }
  std::int32_t rows_missed() const override { return rows_missed_; }
  std::int32_t warm_up() override;
  void forget(SeqId seq) override;
  std::int64_t free_pages() const { return static_cast<std::int64_t>(free_.size()); }

 private:
  struct Follower {
    std::vector<Token> cached;        // tokens whose keys and values are in the pages
    std::size_t sure = 0;             // of these, known to be the sequence's
    std::vector<std::int32_t> pages;  // blocks of the cache, in order of position
    std::uint64_t turn = 0;           // in which it was asked about
  };
  // Rows of one sequence in one run.
  struct Part {
    std::size_t ask = 0;
    Follower* follower = nullptr;
    std::span<const Token> tokens;
    bool whole = true;         // its last row is the newest token
    double probability = 1.0;  // of the draft so far
  };
  // A token of a tree that is in its draft, and what it takes to compute its row.
  struct Twig {
    std::size_t ask = 0;
    Follower* follower = nullptr;
    std::int32_t node = -1;  // of the shape; -1: the newest token
    std::int32_t at = -1;    // in the draft
    double probability = 1.0;
    std::vector<std::int64_t> slots;  // of the draft's tokens on the way, itself included
    bool first_branch = true;         // the most probable token everywhere
  };
  Status grow_trees(std::span<const DraftAsk> asks, std::span<Draft> drafts, std::span<const Part> parts);
  void add_children(const DraftAsk& ask, const Twig& twig, std::span<const float> logits, Draft& draft,
                    std::vector<Twig>& next);
  Status run_twigs(std::span<const DraftAsk> asks, std::span<const Draft> drafts, std::span<Twig> twigs);
  std::vector<Part> catch_up(std::span<const DraftAsk> asks);
  bool make_room(Follower& follower, std::size_t positions);
  bool evict_one();
  Status run(std::span<const Part> parts);

  std::unique_ptr<Model> model_;
  KvCache cache_;
  const ModelDrafterOptions options_;
  std::int32_t page_size_;
  std::unordered_map<SeqId, Follower> followers_;
  std::vector<std::int32_t> free_;
  std::uint64_t turn_ = 0;
  bool failed_ = false;
  std::int32_t rows_missed_ = 0;
  DraftRows rows_;
  GreedyGuess guess_;
  std::unordered_map<SeqId, std::int32_t> aside_;  // slots of a turn's trees that are not on first branches
};

}  // namespace foregate
