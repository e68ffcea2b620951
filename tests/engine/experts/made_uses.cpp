#include "tests/engine/experts/made_uses.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "engine/base/rng.h"

namespace foregate {
namespace {

class Router {
 public:
  Router(const MadeRouting& routing, std::int32_t layer)
      : routing_(routing), stream_(static_cast<std::uint64_t>(layer)) {
    std::vector<std::int32_t> rank(static_cast<std::size_t>(routing.experts));
    std::iota(rank.begin(), rank.end(), 0);
    for (std::size_t i = rank.size(); i > 1; --i) std::swap(rank[i - 1], rank[static_cast<std::size_t>(draw() * i)]);
    for (const std::int32_t r : rank) weight_.push_back(1 / std::pow(r + 1, routing.skew));
  }

  std::vector<std::int32_t> next() {
    std::set<std::int32_t> chosen;
    for (const std::int32_t expert : last_) {
      if (draw() < routing_.sticky) chosen.insert(expert);
    }
    while (chosen.size() < static_cast<std::size_t>(routing_.top_k)) chosen.insert(pick());
    last_.assign(chosen.begin(), chosen.end());
    return last_;
  }

 private:
  double draw() { return uniform01(routing_.seed, stream_, count_++); }
  std::int32_t pick() {
    double left = draw() * std::accumulate(weight_.begin(), weight_.end(), 0.0);
    for (std::size_t i = 0; i + 1 < weight_.size(); ++i) {
      if ((left -= weight_[i]) < 0) return static_cast<std::int32_t>(i);
    }
    return static_cast<std::int32_t>(weight_.size()) - 1;
  }

  const MadeRouting routing_;
  std::uint64_t stream_;
  std::uint64_t count_ = 0;
  std::vector<double> weight_;
  std::vector<std::int32_t> last_;
};

}  // namespace

std::vector<MadeUse> made_uses(const MadeRouting& routing) {
  std::vector<Router> routers;
  for (std::int32_t i = 0; i < routing.layers; ++i) routers.emplace_back(routing, i);
  std::vector<MadeUse> uses;
  for (std::int32_t token = 0; token < routing.tokens; ++token) {
    for (std::int32_t layer = 0; layer < routing.layers; ++layer) {
      MadeUse& use = uses.emplace_back();
      use.step = token;
      use.layer = layer;
      use.experts = routers[static_cast<std::size_t>(layer)].next();
      use.rows.assign(use.experts.size(), 1);
    }
  }
  return uses;
}

}  // namespace foregate
