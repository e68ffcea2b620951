// Models of shapes as they run: finite, the same on any number of threads, and routed as planted. Routing is measured
// where it happens: the router op of the table is wrapped by one that keeps what it chose.
#include "tools/bench/shape_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/registry/registry.h"
#include "tools/bench/bench_run.h"
#include "tools/bench/shapes.h"

namespace foregate {
namespace {

Op<RouterTopkArgs> true_router = nullptr;
std::vector<std::vector<std::int32_t>> chosen;  // per call: [T, top_k]

void recording_router(Stream& stream, const RouterTopkArgs& args) {
  true_router(stream, args);
  chosen.emplace_back(args.ids, args.ids + args.logits.rows * args.rule.top_k);
}

struct Machine {
  Backend backend;
  std::unique_ptr<Stream> stream;
  std::unique_ptr<Transformer> model;
};

OpenModel opened(const char* shape, const char* format, const RoutingPlan& routing) {
  auto model = open_shape(shape, 0, format, routing.skew != 0.0);
  CHECK(model.ok());
  return std::move(model).value();
}

std::unique_ptr<Machine> made(const char* shape, const char* format, const RoutingPlan& routing, int threads = 2) {
  auto machine = std::make_unique<Machine>();
  std::string error;
  machine->backend = make_backend({.isa = "auto", .threads = 2}, &error);
  true_router = machine->backend.ops.router_topk;
  machine->backend.ops.router_topk = recording_router;
  machine->stream = machine->backend.device->create_stream();
  auto model = make_shape_transformer(opened(shape, format, routing), routing, 256, threads, *machine->backend.device,
                                      machine->backend.ops, *machine->stream);
  CHECK(model.ok());
  machine->model = std::move(model).value();
  return machine;
}

// Routing of `tokens` random tokens: per layer, what each token chose.
struct Routing {
  std::size_t top_k = 0;
  std::vector<std::vector<std::int32_t>> layers;

  double share(std::size_t layer, std::int32_t expert) const {
    const auto& ids = layers[layer];
    return static_cast<double>(std::count(ids.begin(), ids.end(), expert)) * static_cast<double>(top_k) /
           static_cast<double>(ids.size());
  }
  bool has(std::size_t layer, std::size_t token, std::int32_t expert) const {
    const auto first = layers[layer].begin() + static_cast<std::ptrdiff_t>(token * top_k);
    return std::find(first, first + static_cast<std::ptrdiff_t>(top_k), expert) !=
           first + static_cast<std::ptrdiff_t>(top_k);
  }
  std::size_t tokens() const { return layers[0].size() / top_k; }
};

Routing measured(Machine& machine, std::int32_t tokens) {
  chosen.clear();
  auto run = BenchRun::create(*machine.model, *machine.backend.device,
                              {.prompt_tokens = tokens, .batch = 1, .chunk_tokens = 256});
  CHECK(run.ok() && run->repeat(11).ok());
  Routing routing;
  const std::size_t layers = machine.model->config().layers.size();
  routing.top_k = static_cast<std::size_t>(machine.model->config().router.top_k);
  routing.layers.resize(layers);
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    auto& ids = routing.layers[i % layers];
    ids.insert(ids.end(), chosen[i].begin(), chosen[i].end());
  }
  return routing;
}

std::vector<float> logits_of(Machine& machine) {
  auto run = BenchRun::create(*machine.model, *machine.backend.device, {.prompt_tokens = 24, .generated_tokens = 4});
  CHECK(run.ok() && run->repeat(1).ok());
  return run->logits();
}

TEST(ShapeModel, GivesFiniteLogitsThatDifferInEveryFormat) {
  for (const char* format :
       {"none", "f32", "f16", "q8_0", "q4_0", "q4_1", "q5_0", "q4_k", "q5_k", "q6_k", "mxfp4", "q4_k_m"}) {
    for (const char* shape : {"tiny", "tiny-qwen3"}) {
      const std::vector<float> logits = logits_of(*made(shape, format, {}));
      double squares = 0.0;
      for (const float logit : logits) {
        ASSERT_TRUE(std::isfinite(logit)) << shape << " " << format;
        squares += static_cast<double>(logit) * logit;
      }
      const double deviation = std::sqrt(squares / static_cast<double>(logits.size()));
      EXPECT_GT(deviation, 0.1) << shape << " " << format;
      EXPECT_LT(deviation, 1.0) << shape << " " << format;
    }
  }
}

std::vector<std::byte> bytes_of(const Transformer& model) {
  std::vector<std::byte> bytes;
  for (const Memory& memory : model.weights().memory) {
    bytes.insert(bytes.end(), memory.data(), memory.data() + memory.bytes());
  }
  return bytes;
}

TEST(ShapeModel, IsTheSameForASeedOnAnyNumberOfThreads) {
  const RoutingPlan routing{1.0, 0.5, 9};
  const auto one = made("tiny", "q4_k_m", routing, 1);
  EXPECT_EQ(bytes_of(*one->model), bytes_of(*made("tiny", "q4_k_m", routing, 3)->model));
  EXPECT_EQ(logits_of(*one), logits_of(*made("tiny", "q4_k_m", routing, 3)));
  EXPECT_NE(bytes_of(*one->model), bytes_of(*made("tiny", "q4_k_m", {1.0, 0.5, 10})->model));
}

TEST(ShapeModel, EveryExpertHasMemoryAndWeightsOfItsOwn) {
  const auto machine = made("tiny", "q4_0", {});
  const ModelWeights& weights = machine->model->weights();
  std::vector<std::pair<const std::byte*, std::int64_t>> places;
  for (std::int32_t layer = 0; layer < weights.experts.layers(); ++layer) {
    for (std::int32_t e = 0; e < weights.experts.experts(LayerId{layer}); ++e) {
      const ExpertWeights& expert = weights.experts.get({LayerId{layer}, ExpertId{e}});
      for (const PackedWeight* part : {&expert.gate, &expert.up, &expert.down}) {
        places.emplace_back(part->data, packed_bytes(part->format, part->rows, part->cols));
      }
    }
  }
  EXPECT_EQ(places.size(), 4u * 16 * 3);
  std::sort(places.begin(), places.end());
  for (std::size_t i = 1; i < places.size(); ++i) {
    EXPECT_GE(places[i].first, places[i - 1].first + places[i - 1].second);
    EXPECT_NE(std::memcmp(places[i].first, places[i - 1].first, static_cast<std::size_t>(places[i].second)), 0);
  }
}

TEST(ShapeModel, RoutesEvenlyUnlessToldOtherwise) {
  const auto machine = made("tiny", "q8_0", {0.0, 0.0, 4});
  EXPECT_EQ(machine->model->weights().layers[0].router.logit_bias, nullptr);
  const Routing routing = measured(*machine, 2048);
  ASSERT_EQ(routing.tokens(), 2048u);
  for (std::size_t layer = 0; layer < routing.layers.size(); ++layer) {
    for (std::int32_t e = 0; e < 16; ++e) EXPECT_NEAR(routing.share(layer, e), 0.25, 0.12) << layer << " " << e;
  }
}

TEST(ShapeModel, RoutesWithThePlantedSkew) {
  for (const double skew : {0.5, 1.0, 2.0}) {
    const RoutingPlan plan{skew, 0.0, 4};
    const Routing routing = measured(*made("tiny", "q8_0", plan), 2048);
    const std::vector<double> planted = planted_shares(16, 4, skew);
    for (std::size_t layer = 0; layer < routing.layers.size(); ++layer) {
      const auto order = expert_of_rank(16, static_cast<std::int32_t>(layer), plan.seed);
      double off = 0.0;
      for (std::size_t r = 0; r < planted.size(); ++r) off += std::abs(routing.share(layer, order[r]) - planted[r]);
      EXPECT_LT(off / 16, 0.03) << skew << " layer " << layer;
    }
  }
}

// Of tokens that chose an expert, how many choose the one of the same rank in the next layer.
double follows(const Routing& routing, std::uint64_t seed) {
  std::int64_t pairs = 0;
  std::int64_t kept = 0;
  for (std::size_t layer = 0; layer + 1 < routing.layers.size(); ++layer) {
    const auto here = expert_of_rank(16, static_cast<std::int32_t>(layer), seed);
    const auto next = expert_of_rank(16, static_cast<std::int32_t>(layer) + 1, seed);
    for (std::size_t t = 0; t < routing.tokens(); ++t) {
      for (std::size_t r = 0; r < 16; ++r) {
        if (!routing.has(layer, t, here[r])) continue;
        ++pairs;
        kept += routing.has(layer + 1, t, next[r]) ? 1 : 0;
      }
    }
  }
  return static_cast<double>(kept) / static_cast<double>(pairs);
}

TEST(ShapeModel, RoutesWithThePlantedAffinity) {
  // The chance that two normal numbers of correlation A are both in the upper quarter, over a quarter.
  const struct {
    double affinity;
    double expected;
  } cases[] = {{0.0, 0.25}, {0.5, 0.50}, {0.9, 0.78}, {1.0, 1.0}};
  double before = 0.0;
  for (const auto& [affinity, expected] : cases) {
    const RoutingPlan plan{0.0, affinity, 6};
    const double measured_share = follows(measured(*made("tiny", "q8_0", plan), 1024), plan.seed);
    EXPECT_NEAR(measured_share, expected, 0.06) << affinity;
    EXPECT_GT(measured_share, before);
    before = measured_share;
  }
}

TEST(ShapeModel, SkewWakesFewerExpertsOfABatch) {
  const BenchTest test{.prompt_tokens = 0, .generated_tokens = 8, .batch = 8};
  const auto bytes = [&](double skew) {
    const auto machine = made("tiny", "q4_0", {skew, 0.0, 2});
    auto run = BenchRun::create(*machine->model, *machine->backend.device, test);
    CHECK(run.ok());
    return run->repeat(1).value().bytes;
  };
  EXPECT_LT(bytes(2.0), 0.85 * bytes(0.0));
}

TEST(BootShape, GivesAModelAndSaysWhatItIs) {
  std::vector<double> fractions;
  auto booted = boot_shape({.shape = "tiny",
                            .quantization = "q4_0",
                            .layers = 2,
                            .threads = 1,
                            .progress = [&](std::string_view, double done) { fractions.push_back(done); }});
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  EXPECT_EQ((*booted)->report().threads, 1);
  EXPECT_EQ((*booted)->report().model_name, "shape:tiny");
  EXPECT_EQ((*booted)->info().vocab_size, 4096);
  EXPECT_EQ((*booted)->report().kv_type, DType::kF16);
  EXPECT_EQ((*booted)->model().kv_layout(DType::kF32, 16).layers.size(), 2u);
  EXPECT_EQ(fractions.size(), 4u);  // before, two layers, after
  EXPECT_EQ(fractions.back(), 1.0);
}

TEST(BootShape, NamesTheOptionThatIsWrong) {
  EXPECT_EQ(boot_shape({.shape = "huge"}).status().field(), "shape");
  EXPECT_EQ(boot_shape({.shape = "tiny", .quantization = "q2_k"}).status().field(), "quantization");
  EXPECT_EQ(boot_shape({.shape = "tiny", .layers = 5000}).status().field(), "layers");
  EXPECT_EQ(boot_shape({.shape = "tiny", .routing = {9.0, 0.0, 0}}).status().field(), "skew");
  EXPECT_EQ(boot_shape({.shape = "tiny", .isa = "mmx"}).status().field(), "isa");
  const Status large = boot_shape({.shape = "mixtral-8x7b", .quantization = "f32", .layers = 1000}).status();
  EXPECT_EQ(large.code(), Code::kResourceExhausted);
  EXPECT_NE(large.message().find("--layers"), std::string::npos);
}

}  // namespace
}  // namespace foregate
