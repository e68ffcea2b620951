// The policies to compare with: recency alone, frequency alone, and the future.
#include "engine/experts/eviction_policies.h"
#include "engine/experts/expert_numbers.h"
#include "engine/experts/future_uses.h"

namespace foregate {
namespace {

class LruPolicy final : public EvictionPolicy {
 public:
  explicit LruPolicy(const EvictionOptions& options) : numbers_(options.experts), last_(numbers_.size(), 0) {}
  std::string_view name() const override { return "lru"; }
  void used(const LayerUse& use) override {
    ++time_;
    for (const std::int32_t expert : use.experts) last_[numbers_.at({use.layer, ExpertId{expert}})] = time_;
  }
  double keep_value(ExpertKey key) const override { return static_cast<double>(last_[numbers_.at(key)]); }

 private:
  ExpertNumbers numbers_;
  std::vector<std::int64_t> last_;  // call of used(), from 1; 0: never
  std::int64_t time_ = 0;
};

class LfuPolicy final : public EvictionPolicy {
 public:
  explicit LfuPolicy(const EvictionOptions& options) : numbers_(options.experts), uses_(numbers_.size(), 0) {}
  std::string_view name() const override { return "lfu"; }
  void used(const LayerUse& use) override {
    for (const std::int32_t expert : use.experts) ++uses_[numbers_.at({use.layer, ExpertId{expert}})];
  }
  double keep_value(ExpertKey key) const override { return static_cast<double>(uses_[numbers_.at(key)]); }

 private:
  ExpertNumbers numbers_;
  std::vector<std::int64_t> uses_;
};

class BeladyPolicy final : public EvictionPolicy {
 public:
  explicit BeladyPolicy(const EvictionOptions& options) : future_(*options.future) {}
  std::string_view name() const override { return "belady"; }
  void used(const LayerUse& use) override {
    ++time_;
    if (use.experts.empty()) return;
    // The run that it was told about is another one: its values mean nothing.
    (void)BUG_IF(time_ >= future_.size() || future_.next({use.layer, ExpertId{use.experts[0]}}, time_ - 1) != time_);
  }
  double keep_value(ExpertKey key) const override { return -static_cast<double>(future_.next(key, time_)); }

 private:
  const FutureUses& future_;
  std::int64_t time_ = -1;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_lru_policy(const EvictionOptions& options) {
  return std::make_unique<LruPolicy>(options);
}
std::unique_ptr<EvictionPolicy> make_lfu_policy(const EvictionOptions& options) {
  return std::make_unique<LfuPolicy>(options);
}
std::unique_ptr<EvictionPolicy> make_belady_policy(const EvictionOptions& options) {
  return std::make_unique<BeladyPolicy>(options);
}

}  // namespace foregate
