// When each expert of a known run will be used: what Belady's policy asks. Filled once by a replay, const afterwards.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <vector>

#include "engine/experts/expert_key.h"

namespace foregate {

class FutureUses {
 public:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  // The next use of a layer, in the order in which EvictionPolicy::used() will be called.
  void add(LayerId layer, std::span<const std::int32_t> experts);
  // The call of used(), counted from 0, that comes after `time` and holds `key`; kNever when there is none.
  std::int64_t next(ExpertKey key, std::int64_t time) const;
  std::int64_t size() const { return calls_; }

 private:
  std::map<ExpertKey, std::vector<std::int64_t>> times_;  // ascending
  std::int64_t calls_ = 0;
};

}  // namespace foregate
