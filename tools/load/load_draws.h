// Random draws that are equal on every platform: a function of (seed, stream) and how many came before. One thread.
#pragma once

#include <cstdint>

namespace foregate {

class LoadDraws {
 public:
  LoadDraws(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  double uniform();                        // in (0, 1)
  std::uint32_t below(std::uint32_t end);  // 0..end-1
  double gamma(double shape);              // of mean `shape`

 private:
  double normal();
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t number_ = 0;
};

}  // namespace foregate
