// What one sampled token costs the engine thread, over vocabularies of 50k and 150k: rows of random logits, the
// flattest and so the slowest there are for top_p. Google Benchmark; run by hand.
#include <benchmark/benchmark.h>

#include <vector>

#include "engine/base/rng.h"
#include "engine/sample/sampler.h"

namespace foregate {
namespace {

struct Kind {
  const char* name;
  float temperature;
  std::int32_t top_k;
  float top_p;
  float min_p;
};
constexpr Kind kKinds[] = {{"greedy", 0.0f, 0, 1.0f, 0.0f},          {"top_k_40", 1.0f, 40, 1.0f, 0.0f},
                           {"top_k_20_top_p", 0.7f, 20, 0.8f, 0.0f}, {"min_p", 1.0f, 0, 1.0f, 0.05f},
                           {"whole_row", 1.0f, 0, 1.0f, 0.0f},       {"top_p", 1.0f, 0, 0.9f, 0.0f}};

void sample_rows(benchmark::State& state, const Kind& kind) {
  const auto vocab = static_cast<std::size_t>(state.range(0));
  std::vector<float> row;
  for (std::size_t i = 0; i < vocab; ++i) row.push_back(static_cast<float>((uniform01(1, 2, i) - 0.5) * 10));
  SamplingParams params;
  params.temperature = kind.temperature;
  params.top_k = kind.top_k;
  params.top_p = kind.top_p;
  params.min_p = kind.min_p;
  const std::vector<Token> prompt = {1};
  Sampler sampler(static_cast<std::int32_t>(vocab));
  SampleInput input;
  input.logits = row;
  input.prompt = prompt;
  input.params = &params;
  for (auto _ : state) {
    ++input.seed;
    benchmark::DoNotOptimize(sampler.sample(input));
  }
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  for (const foregate::Kind& kind : foregate::kKinds) {
    benchmark::RegisterBenchmark(kind.name, [&kind](benchmark::State& state) { foregate::sample_rows(state, kind); })
        ->Arg(50'304)
        ->Arg(151'936)
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
