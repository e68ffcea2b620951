// One run of a model that drafts: rows of several sequences, each with pages of its own, and the logits of the last row
// of each. Engine thread.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model.h"
#include "engine/spec/drafter.h"
#include "engine/spec/greedy_guess.h"
#include "kernels/api/device.h"

namespace foregate {

inline constexpr std::int32_t kDraftWarmRows = 16;  // of a drafter's first run, in which its first costs show

class DraftRows {
 public:
  // `what` names the model in errors. `device` must outlive this.
  DraftRows(Device& device, std::int32_t page_size, std::string what)
      : device_(device), page_size_(page_size), what_(std::move(what)) {}
  void clear();
  // Rows of one sequence from position `first` on; `pages` must stay where it is until the run.
  void add(std::span<const Token> tokens, std::int32_t first, const std::vector<std::int32_t>& pages);
  // A row of a tree: `slots` of the tokens from position `first` on that lead to it, its own the last. Rows of one
  // sequence come one after the other; of a run all rows are of trees, or none.
  void add_branch(Token token, std::int32_t first, std::vector<std::int64_t> slots,
                  const std::vector<std::int32_t>& pages);
  // hidden_in, hidden_out: [rows, hidden], or empty (ForwardInput). An exception of the model is an internal error.
  Status run(Model& model, KvCache& cache, std::span<const float> hidden_in = {}, std::span<float> hidden_out = {});
  // [vocab] of the last row of the `part`-th sequence of the run; of trees, of the `part`-th row.
  std::span<const float> logits(std::size_t part) const;
  std::int32_t last_row(std::size_t part) const { return logit_rows_[part]; }

 private:
  Device& device_;
  std::int32_t page_size_;
  std::string what_;
  std::size_t vocab_ = 0;
  Memory logits_;
  std::vector<Token> tokens_;
  std::vector<std::int32_t> positions_;
  std::vector<std::int64_t> slots_;
  std::vector<SeqSpan> seqs_;
  std::vector<SeqSpan> branches_;
  std::deque<std::vector<std::int64_t>> tails_;  // of branches_
  std::vector<std::int32_t> logit_rows_;
};

// Adds a guess to a draft, whose probability so far it multiplies. Whether another token is asked for; the draft's
// tokens stay where they are while it grows.
bool extend(Draft& draft, const DraftAsk& ask, const GuessedToken& best, double& probability);

// What a failed run leaves: no draft of any sequence, and a line in the log.
void give_up(std::span<Draft> drafts, const std::string& what, const Status& why);

}  // namespace foregate
