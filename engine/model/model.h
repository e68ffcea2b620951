// The seam between the step runner and what computes a step. The transformer implements it; tests
// and the simulator put a model of their own behind it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "engine/api/engine.h"
#include "engine/api/types.h"
#include "engine/base/status.h"
#include "engine/experts/elastic_slots.h"
#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_layout.h"
#include "kernels/api/args_attention.h"
#include "kernels/api/args_sample.h"
#include "kernels/api/view.h"

namespace foregate {

// The rows of one step, T in all, grouped by sequence. Pure input; valid during the call.
struct ForwardInput {
  std::span<const Token> tokens;               // [T]
  std::span<const std::int32_t> positions;     // [T]
  std::span<const std::int64_t> slot_mapping;  // [T] block * block_size + offset, where k and v go
  std::span<const SeqSpan> seqs;               // every row belongs to exactly one
  std::span<const std::int32_t> logit_rows;    // rows whose logits are wanted
  std::span<const std::uint64_t> requests{};   // [seqs.size()] whose they are, for a trace; may be empty
  // Of a model that samples(): how the token of each logit row is chosen, and where it goes (Token, kSampleNotFinite or
  // kNotSampled). Rows that are wanted need not have their logits. Empty: all logits.
  std::span<const SampleRule> rules{};
  std::span<Token> sampled{};
  // [seqs.size()] of the rows of each, the last so many hold drafted tokens; empty: none do. It changes what is counted
  // of the step, never what is computed.
  std::span<const std::int32_t> drafted{};
  // [T, hidden_size], rows without gaps; empty: not wanted. Of each row what the lm head reads, of a NextN layer
  // (nextn.h) what its norm before the lm head reads.
  std::span<float> hidden_out{};
  // [T, hidden_size] for a NextN layer alone: of each row, hidden_out of the row before it.
  std::span<const float> hidden_in{};
  // Of a cache whose layout is grouped: seqs and slot_mapping of the layers with a window, which have blocks of their
  // own; block_table has -1 for those that were given up. Else empty.
  std::span<const SeqSpan> window_seqs{};
  std::span<const std::int64_t> window_slots{};
  // Of a step in which a draft is a tree: all rows again, by branch, for attention alone; the rows of such a sequence
  // in `seqs` are not at consecutive positions. The second, of the window group, where the cache has one. Else empty.
  std::span<const SeqSpan> branches{};
  std::span<const SeqSpan> window_branches{};
};

class Model {
 public:
  virtual ~Model() = default;
  // logits is [logit_rows.size(), vocab_size]. Each row's logits depend on that sequence alone.
  virtual Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) = 0;
  // Tokens that are likely to be rows of the next forward(): what they need may be brought from now on. Between steps;
  // it changes no result.
  virtual void foresee(std::span<const Token> tokens) { static_cast<void>(tokens); }
  // After a good forward() with drafts, before the next: how many drafted rows of each of its sequences stood.
  // `places`, of a step with branches: of each drafted row, in order, its place among those of its sequence that stood,
  // from 1 on, or 0; empty: the first ones stood.
  virtual void drafts_stood(std::span<const std::int32_t> stood, std::span<const std::int32_t> places) {
    static_cast<void>(stood), static_cast<void>(places);
  }
  virtual std::int32_t vocab_size() const = 0;  // logits of a row
  virtual KvLayout kv_layout(DType type, std::int32_t block_size) const = 0;
  // Whether forward() takes ForwardInput::rules.
  virtual bool samples() const { return false; }
  // Steps, or parts of them, that were given to the device as one because the same came before (Stream::collect()).
  virtual std::uint64_t collected_steps() const { return 0; }
  // Bytes of weights that the steps so far had to read: each dense weight once a step, each expert
  // once a step in which some row chose it. The yardstick of `foregate bench`.
  virtual std::uint64_t weight_bytes_read() const { return 0; }
  // What it computes on has failed for good: no step will succeed. Between steps only, on their thread.
  virtual bool broken() const { return false; }
  // None when all experts are in memory. Between steps only, on their thread.
  virtual std::optional<ExpertFigures> expert_figures() const { return std::nullopt; }
  // Of slots on a device in front of experts in host memory; none: there are no such slots.
  virtual std::optional<TierFigures> tier_figures() const { return std::nullopt; }
  // Answers those who asked where experts are. Between steps only, on their thread.
  virtual void show_experts() {}
  // From now on last_experts() and resident_experts() answer, where experts are on disk. Between steps only, on their
  // thread, as those.
  virtual void keep_routes() {}
  // Numbers, over all layers, of the experts that the last row of the request used; empty: not known.
  virtual std::span<const std::int32_t> last_experts(std::uint64_t request) const {
    static_cast<void>(request);
    return {};
  }
  // By such a number: whether it is in memory. Empty: all are.
  virtual std::span<const std::uint8_t> resident_experts() { return {}; }
  // Its slots of experts, where their number may change; null: it may not. Between steps only, on their thread.
  virtual ElasticSlots* elastic_slots() { return nullptr; }
  // Of dense weights that pass through a window; none: all are in memory.
  virtual std::optional<DenseFigures> dense_figures() const { return std::nullopt; }
};

}  // namespace foregate
