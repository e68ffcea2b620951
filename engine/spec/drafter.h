// The seam of speculation: what guesses the next tokens of sequences. A guess costs time when it is wrong and never
// changes an answer. Owned by the runtime, engine thread only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/api/types.h"
#include "engine/base/ids.h"
#include "engine/spec/draft_tree.h"

namespace foregate {

// A sequence whose newest token is the only one not computed yet.
struct DraftAsk {
  SeqId seq;
  RequestId request;
  std::int32_t index = 0;         // of the request's samples
  std::span<const Token> tokens;  // prompt and output so far; valid during the call
  std::int32_t prompt_tokens = 0;
  std::int32_t most = 0;  // tokens wanted after one another, at least 1
  // A draft less probable than this, whole as it is, is not worth making longer.
  double least_probability = 0.0;
  // Which guesses are wanted of each place, down to depth `most`; null: a chain.
  const TreeShape* tree = nullptr;
};

struct Draft {
  std::vector<Token> tokens;
  // How probable the drafter holds each token, if those before it are right; empty where it cannot tell. Only its order
  // counts: what such a guess is worth is learned.
  std::vector<float> sure;
  // Of a tree: which token each one follows, -1: the newest; parents come before their children, and no token twice
  // among children of one. Empty: a chain.
  std::vector<std::int32_t> parents;
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  // Fills drafts[i], empty before, with at most asks[i].most tokens that may follow (asks[i].tree: and as many
  // branches); it stays empty where the drafter has nothing to say. A drafter that fails declines. Who is not asked
  // about this turn may be asked about later.
  virtual void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) = 0;
  // Whether a draft costs so little that all are made first and those worth their rows are chosen then.
  virtual bool instant() const { return false; }
  // Tokens that it chooses among, where they are not all of the model's; 0: all.
  virtual std::int32_t vocabulary() const { return 0; }
  // Of the last propose(): rows that it computed of what it had missed of sequences, beyond what every one does.
  virtual std::int32_t rows_missed() const { return 0; }
  // Does once what propose() does, for rows that it had missed: so many. Touches the memory that it will need, and
  // shows what a row takes. 0: there is nothing to do.
  virtual std::int32_t warm_up() { return 0; }
  // Of the hidden states that computed() is to get (ForwardInput::hidden_out of the target); 0: it needs none.
  virtual std::int32_t hidden_size() const { return 0; }
  // Rows of the sequence that the target has computed and that stand, from position `first` on: [rows, hidden_size],
  // valid during the call. Rows may come again, the same ones, and some may never come.
  virtual void computed(SeqId seq, std::int32_t first, std::span<const float> hidden) {
    static_cast<void>(seq), static_cast<void>(first), static_cast<void>(hidden);
  }
  // The sequence has ended, nothing more will be asked about it.
  virtual void forget(SeqId seq) { static_cast<void>(seq); }
};

}  // namespace foregate
