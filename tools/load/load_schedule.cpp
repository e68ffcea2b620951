#include "tools/load/load_schedule.h"

#include "tools/load/load_draws.h"

namespace foregate {

std::vector<double> arrival_times(std::size_t count, double rate, double burstiness, std::uint64_t seed) {
  std::vector<double> times(count, 0.0);
  if (rate <= 0) return times;
  LoadDraws draws(seed, 0x10adULL);
  double now = 0;
  for (double& at : times) {
    now += draws.gamma(burstiness) / (burstiness * rate);
    at = now;
  }
  return times;
}

}  // namespace foregate
