#include "engine/runtime/placement_keeper.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "engine/base/log.h"

namespace foregate {
namespace {

std::vector<std::int32_t> experts_of(const PlacementPlan& plan, const std::vector<LayerId>& layers) {
  std::vector<std::int32_t> experts;
  for (const LayerId layer : layers) experts.push_back(plan.experts(layer));
  return experts;
}

}  // namespace

PlacementKeeper::PlacementKeeper(PlacementPlan first, std::vector<LayerId> layers, std::int32_t top_k,
                                 PlacementOptions options, Metrics* registry)
    : layers_(std::move(layers)),
      top_k_(static_cast<std::size_t>(top_k)),
      options_(std::move(options)),
      own_(registry == nullptr ? std::make_unique<Metrics>() : nullptr),
      step_(layers_.size()),
      ring_(layers_.size(), std::vector<std::uint16_t>(options_.window * top_k_)),
      due_(system_clock().now() + options_.interval),
      plan_(std::make_shared<const PlacementPlan>(std::move(first))) {
  Metrics& metrics = registry != nullptr ? *registry : *own_;
  const Labels labels = {{"model_name", options_.model_name}};
  plans_ = &metrics.counter("foregate_placement_plans", "Plans of which rank has which expert that were put in force",
                            labels);
  moves_ = &metrics.counter("foregate_placement_moves", "Experts that went to a rank, or were copied there, by them",
                            labels);
  touched_ = &metrics.gauge("foregate_placement_ranks_per_row",
                            "Ranks that a row's experts of one layer are on, as the last plan expects it", labels);
  solver_ = std::thread([this] { run(); });
}

PlacementKeeper::~PlacementKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wanted_.notify_all();
  solver_.join();
}

void PlacementKeeper::routed(LayerId layer, std::span<const std::int32_t> ids) {
  if (layer == layers_.front()) next_layer_ = 0;
  if (next_layer_ >= layers_.size() || layer != layers_[next_layer_]) return;
  step_[next_layer_].assign(ids.begin(), ids.end());
  if (step_[next_layer_].size() != step_[0].size()) return;
  if (++next_layer_ == layers_.size()) keep_step();
}

void PlacementKeeper::keep_step() {
  const std::size_t rows = step_[0].size() / top_k_;
  for (std::size_t row = 0; row < rows; ++row, ++rows_) {
    const auto from = static_cast<std::ptrdiff_t>(row * top_k_);
    const auto to = static_cast<std::ptrdiff_t>(rows_ % options_.window * top_k_);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      std::copy_n(step_[l].begin() + from, top_k_, ring_[l].begin() + to);
    }
  }
}

// Oldest first, as decay() wants them.
RouteRows PlacementKeeper::recent() const {
  RouteRows rows;
  rows.top_k = static_cast<std::int32_t>(top_k_);
  rows.experts = experts_of(*plan_, layers_);
  const std::uint64_t kept = std::min<std::uint64_t>(rows_, options_.window);
  for (const std::vector<std::uint16_t>& ring : ring_) {
    std::vector<std::uint16_t>& ids = rows.ids.emplace_back();
    for (std::uint64_t row = rows_ - kept; row < rows_; ++row) {
      const auto at = ring.begin() + static_cast<std::ptrdiff_t>(row % options_.window * top_k_);
      ids.insert(ids.end(), at, at + static_cast<std::ptrdiff_t>(top_k_));
    }
  }
  decay(rows, static_cast<double>(options_.window) / 4);
  return rows;
}

// Under the lock.
void PlacementKeeper::solve_when_due() {
  const TimeNs now = system_clock().now();
  if (busy_ || now < due_ || rows_ - solved_rows_ < options_.least_rows) return;
  task_ = recent();
  busy_ = true;
  solved_rows_ = rows_;
  due_ = now + options_.interval;
  wanted_.notify_all();
}

std::shared_ptr<const PlacementPlan> PlacementKeeper::take() {
  const std::lock_guard lock(mutex_);
  solve_when_due();
  if (!made_) return nullptr;
  const Replan made = std::move(*std::exchange(made_, std::nullopt));
  plan_ = std::make_shared<const PlacementPlan>(made.plan);
  plans_->add();
  moves_->add(static_cast<double>(made.moves));
  touched_->set(made.after);
  char text[160];
  std::snprintf(text, sizeof text,
                "placement: %zu experts move, %.3f ranks per row and layer become %.3f (%.3f wanted)", made.moves,
                made.before, made.after, made.target);
  log_info(text);
  return plan_;
}

void PlacementKeeper::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wanted_.wait(lock, [this] { return stopping_ || task_; });
    if (stopping_) return;
    const RouteRows rows = std::move(*std::exchange(task_, std::nullopt));
    const std::shared_ptr<const PlacementPlan> now = plan_;
    lock.unlock();
    auto made = replan(*now, layers_, rows, options_.replan);
    lock.lock();
    if (!made.ok()) log_warn("no placement was found: " + made.status().message());
    if (made.ok()) made_ = std::move(made).value();
    busy_ = false;
  }
}

}  // namespace foregate
