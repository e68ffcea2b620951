// What a trace shows about its model's routing, as figures: how many experts are awake, how unevenly they are used, how
// much a token routes like the one before, and how much one layer says about the next. Pure; fed step by step.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "engine/experts/expert_numbers.h"
#include "engine/experts/trace.h"

namespace foregate {

struct LayerSummary {
  std::int32_t layer = 0;
  std::int32_t experts = 0;
  std::uint64_t steps = 0;
  std::uint64_t assignments = 0;  // rows times top_k
  std::int32_t used = 0;          // experts that any row chose
  double distinct = 0.0;          // experts per decode step, mean
  double top_quarter = 0.0;       // share of assignments to the most used quarter of the experts; 0.25 if even
  double effective = 0.0;         // experts that equally used would be as uneven: 2 to the entropy
  double repeated = 0.0;          // share of a decode row's experts that the row before of its request chose too
  double next_right = 0.0;        // share of the next layer's experts among the top_k that this layer's suggest
  double next_popular = 0.0;      // likewise, among the top_k most used so far
};

struct TraceSummary {
  std::int64_t steps = 0;
  std::int64_t decode_steps = 0;
  std::uint64_t rows = 0;
  std::uint64_t decode_rows = 0;
  std::size_t requests = 0;
  std::uint64_t hits = 0;  // distinct experts of layers that were in memory when asked for
  std::uint64_t misses = 0;
  std::uint64_t streamed_layers = 0;
  std::vector<LayerSummary> layers;  // with experts
};

class TraceSummarizer {
 public:
  explicit TraceSummarizer(const TraceInfo& info);
  void add(const TraceStep& step);
  TraceSummary summary() const;

 private:
  struct Layer {
    std::uint64_t steps = 0, decode_steps = 0, distinct = 0;
    std::vector<std::uint64_t> uses;                          // by expert
    std::map<std::uint64_t, std::vector<std::int32_t>> last;  // by request: experts of its last row
    std::uint64_t compared = 0, repeated = 0;
    std::vector<std::uint32_t> pairs;  // [expert here, expert of the next layer]
    std::uint64_t guessed = 0, right = 0, popular_right = 0;
  };
  void add_layer(const TraceStep& step, const TraceLayer& layer);
  void add_rows(Layer& into, const TraceStep& step, const TraceLayer& layer);
  void follow(const TraceStep& step, const TraceLayer& layer, const TraceLayer& next);

  TraceInfo info_;
  std::size_t top_k_;
  std::vector<Layer> layers_;
  std::set<std::uint64_t> requests_;
  TraceSummary sums_;
  DistinctExperts distinct_;
  std::vector<double> scores_;
};

}  // namespace foregate
