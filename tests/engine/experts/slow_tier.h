// A tier in a dozen lines, slow and obvious: what the replay and the store are held to.
#pragma once

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include "engine/experts/eviction.h"
#include "engine/experts/slot_plan.h"

namespace foregate {

struct SlowTier {
  EvictionPolicy& policy;
  std::size_t slots;
  std::set<ExpertKey> resident = {};
  std::int64_t hits = 0;
  std::int64_t misses = 0;
  std::int64_t evictions = 0;

  // More needed experts than slots: in decode they pass by and nothing is kept.
  void use(const LayerUse& use) {
    policy.used(use);
    if (use.phase == UsePhase::kPrefill) return use_of_prompt(use);
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
  // So many loads at a time; what was used may go for the next ones.
  void use_of_prompt(const LayerUse& use) {
    std::vector<ExpertKey> here;
    std::vector<ExpertKey> missing;
    for (const std::int32_t expert : use.experts) {
      const ExpertKey key{use.layer, ExpertId{expert}};
      (resident.count(key) == 1 ? here : missing).push_back(key);
    }
    hits += static_cast<std::int64_t>(here.size());
    misses += static_cast<std::int64_t>(missing.size());
    std::set<ExpertKey> pinned(here.begin(), here.end());
    std::size_t begun = 0;
    const auto begin = [&](std::size_t used) {
      for (; begun < missing.size() && begun - used < prompt_window(slots); ++begun) {
        if (resident.size() == slots && std::includes(pinned.begin(), pinned.end(), resident.begin(), resident.end()))
          return;
        if (resident.size() == slots) evict(pinned);
        resident.insert(missing[begun]);
        pinned.insert(missing[begun]);
      }
    };
    begin(0);
    for (const ExpertKey key : here) {
      pinned.erase(key);
      begin(0);
    }
    for (std::size_t used = 0; used < missing.size(); ++used) {
      pinned.erase(missing[used]);
      begin(used + 1);
    }
  }
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
