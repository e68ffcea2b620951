// How long a call takes on a stream.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/api/device.h"

namespace foregate {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Seconds of one call: the median of five rounds of so many calls that they take `limit` in all, each ended by a wait.
template <class Call>
double seconds_of(Stream& stream, double limit, const Call& call) {
  constexpr int kRounds = 5;
  using Clock = std::chrono::steady_clock;
  call();
  stream.synchronize();
  const auto first = Clock::now();
  call();
  stream.synchronize();
  const int calls = std::clamp(static_cast<int>(limit / kRounds / std::max(seconds_since(first), 1e-7)), 1, 2000);
  std::vector<double> rounds;
  for (int r = 0; r < kRounds; ++r) {
    const auto start = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    stream.synchronize();
    rounds.push_back(seconds_since(start) / calls);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[kRounds / 2];
}

}  // namespace foregate
