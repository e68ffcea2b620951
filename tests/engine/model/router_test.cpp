// The router object away from its layer, as a predictor uses it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tests/engine/model/driver.h"

namespace foregate {
namespace {

// Router logits of one row in double, from the packed f32 gate (quant.h).
std::vector<double> reference_scores(const Router& router, const float* x) {
  const auto* packed = reinterpret_cast<const float*>(router.gate.data);
  std::vector<double> scores;
  double sum = 0.0;
  for (std::int64_t e = 0; e < router.gate.rows; ++e) {
    double logit = 0.0;
    for (std::int64_t k = 0; k < router.gate.cols; ++k) {
      logit += static_cast<double>(x[k]) *
               packed[((e / kRowInterleave) * router.gate.cols + k) * kRowInterleave + e % kRowInterleave];
    }
    scores.push_back(std::exp(logit));
    sum += scores.back();
  }
  for (double& score : scores) score /= sum;
  return scores;
}

void check_router(const char* fixture, bool renormalized) {
  Driver driver(golden_dir(fixture), {});
  std::string error;
  const Backend backend = make_backend({.isa = "auto", .threads = 1}, &error);
  const auto stream = backend.device->create_stream();
  const ModelConfig& config = driver.model().config();
  const Router& router = driver.model().weights().layers.front().router;
  EXPECT_EQ(router.gate.format, WeightFormat::kF32);
  const std::int64_t rows = 33;
  const std::int64_t hidden = config.hidden_size;
  const auto top_k = static_cast<std::size_t>(config.router.top_k);
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(rows * hidden));
  for (float& value : x) value = normal(random);
  std::vector<float> logits(static_cast<std::size_t>(rows * config.router.experts));
  std::vector<std::int32_t> ids(static_cast<std::size_t>(rows) * top_k);
  std::vector<float> weights(ids.size());
  router.route(backend.ops, *stream, {x.data(), rows, hidden, hidden}, logits.data(), ids.data(), weights.data());
  for (std::size_t t = 0; t < static_cast<std::size_t>(rows); ++t) {
    const auto scores = reference_scores(router, x.data() + t * static_cast<std::size_t>(hidden));
    std::vector<std::int32_t> order(scores.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
    });
    double chosen = 0.0;
    for (std::size_t s = 0; s < top_k; ++s) chosen += scores[static_cast<std::size_t>(order[s])];
    for (std::size_t s = 0; s < top_k; ++s) {
      EXPECT_EQ(ids[t * top_k + s], order[s]) << t;
      const double expected = scores[static_cast<std::size_t>(order[s])] / (renormalized ? chosen : 1.0);
      EXPECT_NEAR(weights[t * top_k + s], expected, 1e-5) << t;
    }
  }
}

TEST(Router, ChoosesAndRenormalizes) {
  check_router("qwen3-moe-top4-norm", true);
}
TEST(Router, ChoosesWithRawWeights) {
  check_router("olmoe-mha-top8", false);
}

}  // namespace
}  // namespace foregate
