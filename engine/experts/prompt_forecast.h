// Which experts of a layer a prompt will use, before the layer has routed it: from how often rows of earlier prompts
// used each. Pure; the store and the replay of a trace ask it the same and are told the same, on one thread.
//
// A row uses expert e with chance r(e), so n rows that route each by itself use it with chance 1 - (1 - r(e))^n. Rows
// of one text do not, so the layer's sum of chances is held to the experts that came, and the chances are scaled down
// by that.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/experts/eviction.h"
#include "engine/experts/expert_numbers.h"
#include "engine/experts/use_counters.h"

namespace foregate {

class PromptForecast {
 public:
  // `experts` of each layer, 0: a dense one. `counters`: of an earlier run, or empty.
  PromptForecast(const std::vector<std::int32_t>& experts, std::int32_t top_k, const UseCounters& counters);

  // A layer of a prompt used these.
  void used(const LayerUse& use);
  // That a prompt of `rows` rows uses the expert.
  double chance(ExpertKey key, double rows) const;
  // The experts of `layer` that are worth reading before it has routed so many rows, ascending.
  void worth_reading(LayerId layer, double rows, std::vector<ExpertKey>& out) const;
  // Rows of a layer's use.
  double rows_of(const LayerUse& use) const;

 private:
  struct Layer {
    double rows = 0;      // that its experts' uses are of
    double expected = 0;  // experts, by the chances
    double came = 0;
  };
  double plain_chance(ExpertKey key, double rows) const;

  ExpertNumbers numbers_;
  double top_k_;
  std::vector<double> uses_;  // by expert number
  std::vector<Layer> layers_;
};

// Loading ahead what is used saves the time of its load. What is not used costs that time, and at worst once more for
// what gave up its slot. All loads take the same time, so it cancels.
inline bool worth_reading(double chance) {
  return chance > 2 * (1 - chance);
}

}  // namespace foregate
