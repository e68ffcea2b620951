#include "engine/placement/assignment.h"

#include <limits>

#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

class Assigner {
 public:
  Assigner(std::span<const double> costs, std::int32_t ranks, std::int32_t capacity)
      : costs_(costs),
        ranks_(static_cast<std::size_t>(ranks)),
        capacity_(static_cast<std::size_t>(capacity)),
        rank_of_(costs.size() / ranks_, -1),
        members_(ranks_),
        detour_(ranks_ * ranks_, kNone),
        mover_(ranks_ * ranks_, 0),
        distance_(ranks_),
        before_(ranks_) {}

  std::vector<std::int32_t> run() {
    for (std::size_t expert = 0; expert < rank_of_.size(); ++expert) add(expert);
    return std::move(rank_of_);
  }

 private:
  double cost(std::size_t expert, std::size_t rank) const { return costs_[expert * ranks_ + rank]; }

  // Puts the expert where the sum grows least, moving others from full ranks along the cheapest path.
  void add(std::size_t expert) {
    for (std::size_t r = 0; r < ranks_; ++r) {
      distance_[r] = cost(expert, r);
      before_[r] = r;
    }
    relax();
    std::size_t end = ranks_;
    for (std::size_t r = 0; r < ranks_; ++r) {
      if (members_[r].size() < capacity_ && (end == ranks_ || distance_[r] < distance_[end])) end = r;
    }
    CHECK(end < ranks_);
    while (before_[end] != end) {
      const std::size_t from = before_[end];
      move(mover_[from * ranks_ + end], from, end);
      end = from;
    }
    members_[end].push_back(expert);
    rank_of_[expert] = static_cast<std::int32_t>(end);
    for (const std::size_t r : touched_) refresh(r);
    refresh(end);
    touched_.clear();
  }

  // Bellman-Ford; an optimal assignment leaves no negative cycle. The margin keeps rounding from making one.
  void relax() {
    for (std::size_t round = 0; round < ranks_; ++round) {
      bool changed = false;
      for (std::size_t r = 0; r < ranks_; ++r) {
        if (members_[r].size() < capacity_) continue;  // the path may end there
        for (std::size_t to = 0; to < ranks_; ++to) {
          const double through = distance_[r] + detour_[r * ranks_ + to];
          if (through < distance_[to] - 1e-9 && !leads_to(r, to)) {
            distance_[to] = through;
            before_[to] = r;
            changed = true;
          }
        }
      }
      if (!changed) return;
    }
  }

  // Whether the path that ends at `rank` passes `node`.
  bool leads_to(std::size_t rank, std::size_t node) const {
    for (; rank != node; rank = before_[rank]) {
      if (before_[rank] == rank) return false;
    }
    return true;
  }

  void move(std::size_t expert, std::size_t from, std::size_t to) {
    std::erase(members_[from], expert);
    members_[to].push_back(expert);
    rank_of_[expert] = static_cast<std::int32_t>(to);
    touched_.push_back(from);
    touched_.push_back(to);
  }

  // What it costs least to push one member of `rank` to each other rank.
  void refresh(std::size_t rank) {
    for (std::size_t to = 0; to < ranks_; ++to) {
      double best = kNone;
      for (const std::size_t expert : members_[rank]) {
        const double more = cost(expert, to) - cost(expert, rank);
        if (more >= best) continue;
        best = more;
        mover_[rank * ranks_ + to] = expert;
      }
      detour_[rank * ranks_ + to] = to == rank ? kNone : best;
    }
  }

  std::span<const double> costs_;
  std::size_t ranks_, capacity_;
  std::vector<std::int32_t> rank_of_;
  std::vector<std::vector<std::size_t>> members_;
  std::vector<double> detour_;      // [from, to]
  std::vector<std::size_t> mover_;  // the expert that pays it
  std::vector<double> distance_;
  std::vector<std::size_t> before_;
  std::vector<std::size_t> touched_;
};

}  // namespace

std::vector<std::int32_t> cheapest_assignment(std::span<const double> costs, std::int32_t ranks,
                                              std::int32_t capacity) {
  CHECK(ranks > 0 && costs.size() % static_cast<std::size_t>(ranks) == 0);
  CHECK(static_cast<std::size_t>(ranks) * static_cast<std::size_t>(capacity) * static_cast<std::size_t>(ranks) >=
        costs.size());
  return Assigner(costs, ranks, capacity).run();
}

}  // namespace foregate
