// A tier in a dozen lines, slow and obvious: what the replay and the store are held to.
#pragma once

#include <algorithm>
#include <set>
#include <tuple>

#include "engine/experts/eviction.h"

namespace foregate {

struct SlowTier {
  EvictionPolicy& policy;
  std::size_t slots;
  std::set<ExpertKey> resident = {};
  std::int64_t hits = 0;
  std::int64_t misses = 0;
  std::int64_t evictions = 0;

  // More needed experts than slots: they pass by and nothing is kept.
  void use(const LayerUse& use) {
    policy.used(use);
    std::set<ExpertKey> needed;
    for (const std::int32_t expert : use.experts) needed.insert({use.layer, ExpertId{expert}});
    const bool fits = needed.size() <= slots;
    for (const ExpertKey key : needed) {
      if (resident.count(key) == 1) {
        ++hits;
        continue;
      }
      ++misses;
      if (!fits) continue;
      if (resident.size() == slots) evict(needed);
      resident.insert(key);
    }
  }

 private:
  void evict(const std::set<ExpertKey>& needed) {
    std::set<std::tuple<double, ExpertKey>> may_go;
    for (const ExpertKey key : resident) {
      if (needed.count(key) == 0) may_go.insert({policy.keep_value(key), key});
    }
    resident.erase(std::get<1>(*may_go.begin()));
    ++evictions;
  }
};

}  // namespace foregate
