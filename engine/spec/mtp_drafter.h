// A NextN layer of the model drafts (model/nextn.h), greedily: its row for position i reads the model's hidden state
// there and the token after it, and guesses the one after that. Further tokens reuse the layer with its own hidden
// states. Of each sequence it keeps the newest hidden states and runs only when it is asked, a bounded number of rows
// at a time. It sees a sequence from some position on: rope turns by distance, so it counts from there, and when its
// room is full, or it was not asked for long, it begins anew at the oldest state that is kept. Memory is taken once: a
// place per sequence, of which those asked about least lately are given up first. Engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
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

struct MtpShape {
  std::int32_t places = 1;        // sequences followed at a time
  std::int32_t positions = 1024;  // of one that have keys and values; whole pages
  std::int32_t kept = 256;        // newest hidden states of one; with a draft fewer than positions
  std::int32_t max_rows = 256;    // of one run; at least the sequences of one turn
  std::int32_t hidden_size = 0;
  std::int32_t vocab_size = 0;
  std::vector<Token> tokens = {};  // that there are logits of, ascending; empty: all

  std::int64_t hidden_bytes() const {  // of one place
    return std::int64_t{kept} * hidden_size * static_cast<std::int64_t>(sizeof(float));
  }
};

class MtpDrafter final : public Drafter {
 public:
  // `device` must outlive this; `cache` is empty, has the layout of `layer` and places * positions positions.
  MtpDrafter(std::unique_ptr<Model> layer, Device& device, KvCache cache, const MtpShape& shape);
  void propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) override;
  std::int32_t vocabulary() const override { return static_cast<std::int32_t>(shape_.tokens.size()); }
  std::int32_t rows_missed() const override { return rows_missed_; }
  std::int32_t warm_up() override;
  std::int32_t hidden_size() const override { return shape_.hidden_size; }
  void computed(SeqId seq, std::int32_t first, std::span<const float> hidden) override;
  void forget(SeqId seq) override;
  std::uint64_t begun_anew() const { return begun_anew_; }

 private:
  struct Follower {
    std::int32_t place = 0;
    std::int32_t first = 0;           // position of the oldest hidden state since the last gap
    std::int32_t next = 0;            // position after the newest
    std::int32_t begin = 0;           // position that the layer counts from
    std::int32_t done = 0;            // rows from there whose keys and values are in the cache
    std::uint64_t turn = 0;           // when it was asked about or heard of
    bool spoilt = false;              // something was not finite: it is followed no more
    std::vector<std::int32_t> pages;  // blocks of the cache, in order of position
  };
  // Rows of one sequence in one run.
  struct Part {
    std::size_t ask = 0;
    Follower* follower = nullptr;
    std::int32_t row = 0;  // counted from begin
    std::span<const Token> tokens;
    std::span<const float> hidden;  // of a drafted row; empty: those kept
    bool whole = true;              // its last row is the newest
    double probability = 1.0;       // of the draft so far
  };
  std::span<float> state(const Follower& follower, std::int32_t position);
  std::int32_t oldest(const Follower& follower) const;
  Follower* follow(SeqId seq);
  std::vector<Part> catch_up(std::span<const DraftAsk> asks);
  void add_rows(const Part& part);
  Status run(std::span<const Part> parts);
  GuessedToken guess(const Part& part, std::size_t row);

  std::unique_ptr<Model> layer_;
  KvCache cache_;
  const MtpShape shape_;
  std::int32_t page_size_;
  DraftRows rows_;
  std::unordered_map<SeqId, Follower> followers_;
  std::vector<std::int32_t> free_;
  std::vector<float> kept_;  // [places, kept, hidden_size], the state of position p at p % kept
  std::uint64_t turn_ = 0;
  bool failed_ = false;
  std::int32_t rows_missed_ = 0;
  std::uint64_t begun_anew_ = 0;
  std::vector<float> hidden_in_, hidden_out_;
  std::vector<float> carried_;  // [parts, hidden_size] states of the rows that the next run goes on from
  GreedyGuess guess_;
};

}  // namespace foregate
