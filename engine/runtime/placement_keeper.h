// --placement auto: remembers what rows of late were routed to, and now and then has a plan made of it (placement/
// replan.h) that holds from the next step on. The engine thread tells and takes; a thread of its own solves meanwhile.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/metrics.h"
#include "engine/placement/replan.h"

namespace foregate {

struct PlacementOptions {
  TimeNs interval = 30'000'000'000;  // between plans
  std::size_t window = 4096;         // rows that are remembered; a quarter of them later a row counts half
  std::size_t least_rows = 256;      // since the last plan, for another
  ReplanOptions replan = {};
  std::string model_name;
};

class PlacementKeeper {
 public:
  // `layers`: those with experts. With no registry given the series go to one of its own, which nobody reads.
  PlacementKeeper(PlacementPlan first, std::vector<LayerId> layers, std::int32_t top_k, PlacementOptions options,
                  Metrics* registry);
  ~PlacementKeeper();

  // The rows of a step in one layer: top_k ids each. Layer after layer; a step that ends early is forgotten.
  void routed(LayerId layer, std::span<const std::int32_t> ids);
  // Between steps. A new plan, once; null: there is none.
  std::shared_ptr<const PlacementPlan> take();

 private:
  void keep_step();
  void solve_when_due();
  void run();
  RouteRows recent() const;

  const std::vector<LayerId> layers_;
  const std::size_t top_k_;
  const PlacementOptions options_;
  std::unique_ptr<Metrics> own_;
  Counter* plans_;
  Counter* moves_;
  Gauge* touched_;

  // Of the engine thread: the step that runs, and a ring of rows of earlier ones.
  std::vector<std::vector<std::uint16_t>> step_;  // [layer][row * top_k + i]
  std::size_t next_layer_ = 0;
  std::vector<std::vector<std::uint16_t>> ring_;  // [layer][(row % window) * top_k + i]
  std::uint64_t rows_ = 0;                        // since the start
  std::uint64_t solved_rows_ = 0;                 // when the last plan was asked for
  TimeNs due_ = 0;

  std::mutex mutex_;
  std::condition_variable wanted_;
  std::shared_ptr<const PlacementPlan> plan_;  // that holds, or is to
  std::optional<RouteRows> task_;
  std::optional<Replan> made_;
  bool busy_ = false;
  bool stopping_ = false;
  std::thread solver_;
};

}  // namespace foregate
