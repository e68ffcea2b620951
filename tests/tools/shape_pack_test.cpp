// Shapes as packed directories: the model that loads from one is the model that bench makes in memory, and serve can
// talk to it.
#include "tools/bench/shape_pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine/model/config_gguf.h"
#include "engine/runtime/model_text.h"
#include "kernels/registry/registry.h"
#include "tests/engine/weights/memory_output.h"
#include "tools/bench/bench_run.h"
#include "tools/bench/shape_metadata.h"
#include "tools/bench/shape_model.h"
#include "tools/bench/shapes.h"

namespace foregate {
namespace {

struct Machine {
  Backend backend = [] {
    std::string error;
    return make_backend({.isa = "auto", .threads = 2}, &error);
  }();
  std::unique_ptr<Stream> stream = backend.device->create_stream();

  std::vector<float> logits(Model& model) const {
    auto run = BenchRun::create(model, *backend.device, {.prompt_tokens = 24, .generated_tokens = 4});
    CHECK(run.ok() && run->repeat(1).ok());
    return run->logits();
  }
};

Status pack(const ShapePackOptions& options, MemoryFiles& disk, MemoryOutput& out, int threads = 2) {
  ASSIGN_OR_RETURN(const PackPlan plan, plan_shape_pack(options));
  return run_shape_pack(plan, options.routing, threads, disk, out, {}).status();
}

MemoryFiles packed(const ShapePackOptions& options, int threads = 2) {
  MemoryFiles disk;
  MemoryOutput out(disk, "m");
  const Status done = pack(options, disk, out, threads);
  EXPECT_TRUE(done.ok()) << done.to_string();
  return disk;
}

std::vector<float> made_logits(const ShapePackOptions& o) {
  const Machine machine;
  auto opened = open_shape(o.shape, o.layers, o.quantization, o.routing.skew != 0.0);
  CHECK(opened.ok());
  auto model =
      make_shape_transformer(*opened, o.routing, 64, 2, *machine.backend.device, machine.backend.ops, *machine.stream);
  CHECK(model.ok());
  return machine.logits(**model);
}

std::vector<float> loaded_logits(const MemoryFiles& disk) {
  const Machine machine;
  auto model = load_transformer(disk, "m", *machine.backend.device, machine.backend.ops, *machine.stream,
                                {.max_batched_tokens = 64});
  EXPECT_TRUE(model.ok()) << model.status().to_string();
  return model.ok() ? machine.logits(**model) : std::vector<float>();
}

TEST(ShapePack, GivesTheLogitsOfTheShapeInMemory) {
  for (const char* shape : {"tiny", "tiny-qwen3"}) {
    for (const char* format : {"q4_0", "q4_k_m", "mxfp4", "none"}) {
      for (const double skew : {0.0, 1.5}) {
        const ShapePackOptions options{.shape = shape, .quantization = format, .routing = {skew, 0.5, 9}};
        const std::vector<float> expected = made_logits(options);
        EXPECT_EQ(loaded_logits(packed(options)), expected) << shape << " " << format << " " << skew;
        const ShapePackOptions other{.shape = shape, .quantization = format, .routing = {skew, 0.5, 10}};
        EXPECT_NE(made_logits(other), expected) << shape << " " << format << " " << skew;
      }
    }
  }
}

TEST(ShapePack, TakesAsManyLayersAsAsked) {
  const ShapePackOptions options{.shape = "tiny", .quantization = "q4_0", .layers = 2};
  EXPECT_EQ(loaded_logits(packed(options)), made_logits(options));
}

// Of all items the bytes are the same, so that biases are the only difference that skew makes.
TEST(ShapePack, SkewLeavesAllOtherWeightsAsTheyAre) {
  const auto plain = packed({.shape = "tiny", .quantization = "q4_0"});
  const auto skewed = packed({.shape = "tiny", .quantization = "q4_0", .routing = {1.0, 0.0, 0}});
  auto a = PackedModel::open(plain, "m");
  auto b = PackedModel::open(skewed, "m");
  ASSERT_TRUE(a.ok() && b.ok());
  ASSERT_EQ(a->index().units.size(), b->index().units.size());
  for (std::size_t u = 0; u < a->index().units.size(); ++u) {
    const PackedUnit& unit = a->index().units[u];
    const bool same = unit.checksum == b->index().units[u].checksum;
    EXPECT_EQ(same, unit.kind != PackedKind::kLayer) << packed_unit_text(unit);
  }
}

TEST(ShapePack, IsTheSameOnAnyNumberOfThreads) {
  const ShapePackOptions options{.shape = "tiny", .quantization = "q4_k_m", .routing = {1.0, 0.5, 2}};
  EXPECT_EQ(packed(options, 1).contents, packed(options, 3).contents);
}

TEST(ShapePack, GoesOnWhereItStopped) {
  const ShapePackOptions options{
      .shape = "tiny", .quantization = "q4_0", .routing = {0.0, 0.7, 2}, .max_file_bytes = 3'000'000};
  const MemoryFiles whole = packed(options);
  for (const std::uint64_t stop : {2u, 9u, 60u, 100u, 150u}) {
    MemoryFiles disk;
    MemoryOutput first(disk, "m");
    first.stop_at = stop;
    ASSERT_FALSE(pack(options, disk, first).ok()) << stop;
    MemoryOutput second(disk, "m");
    const Status done = pack(options, disk, second);
    ASSERT_TRUE(done.ok()) << stop << ": " << done.to_string();
    EXPECT_EQ(disk.contents, whole.contents) << stop;
  }
}

TEST(ShapePack, KnowsOtherWeightsFromItsOwn) {
  const ShapePackOptions options{.shape = "tiny", .quantization = "q4_0", .routing = {1.0, 0.5, 2}};
  MemoryFiles disk = packed(options);
  const auto again = [&disk](const ShapePackOptions& other) {
    MemoryOutput out(disk, "m");
    return pack(other, disk, out).field();
  };
  EXPECT_EQ(again(options), "");
  for (const RoutingPlan& routing : {RoutingPlan{1.0, 0.5, 3}, RoutingPlan{1.1, 0.5, 2}, RoutingPlan{1.0, 0.6, 2}}) {
    EXPECT_EQ(again({.shape = "tiny", .quantization = "q4_0", .routing = routing}), "OUT");
  }
  EXPECT_EQ(again({.shape = "tiny", .quantization = "q8_0", .routing = {1.0, 0.5, 2}}), "OUT");
}

TEST(ShapePack, NamesTheOptionThatIsWrong) {
  EXPECT_EQ(plan_shape_pack({.shape = "huge"}).status().field(), "shape");
  EXPECT_EQ(plan_shape_pack({.shape = "gpt-oss-20b"}).status().field(), "shape");
  EXPECT_EQ(plan_shape_pack({.shape = "tiny", .quantization = "q2_k"}).status().field(), "quantization");
  EXPECT_EQ(plan_shape_pack({.shape = "tiny", .routing = {9.0, 0.0, 0}}).status().field(), "skew");
}

void expect_same_config(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.arch, b.arch);
  EXPECT_EQ(a.layers.size(), b.layers.size());
  EXPECT_EQ(a.layers[0].ffn_intermediate, b.layers[0].ffn_intermediate);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.heads, b.heads);
  EXPECT_EQ(a.kv_heads, b.kv_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.max_positions, b.max_positions);
  EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
  EXPECT_EQ(a.router.experts, b.router.experts);
  EXPECT_EQ(a.router.top_k, b.router.top_k);
  EXPECT_EQ(a.router.weights, b.router.weights);
  EXPECT_EQ(a.ropes[0].theta, b.ropes[0].theta);
  EXPECT_EQ(a.ropes[0].rotary_dim, b.ropes[0].rotary_dim);
}

TEST(ShapeMetadata, SaysWhatTheShapeIs) {
  for (const char* name : {"olmoe-1b-7b", "qwen3-30b-a3b", "mixtral-8x7b", "tiny", "tiny-qwen3"}) {
    const ModelShape& shape = *find_shape(name);
    auto opened = open_shape(shape, 2, shape_format("q4_0").value());
    ASSERT_TRUE(opened.ok());
    auto header = shape_metadata(shape, opened->config, {"q4_0", {}});
    ASSERT_TRUE(header.ok()) << header.status().to_string();
    auto config = read_gguf_config(*header, opened->index, opened->index, name);
    ASSERT_TRUE(config.ok()) << config.status().to_string();
    expect_same_config(*config, opened->config);
  }
}

std::shared_ptr<const Tokenizer> tokenizer_of(const ModelShape& shape) {
  OpenModel model;
  model.source = {ModelKind::kPackedGguf, "m"};
  model.gguf = shape_metadata(shape, open_shape(shape, 1, {})->config, {"none", {}}).value();
  auto text = load_model_text(MemoryFiles(), model);
  EXPECT_TRUE(text.ok()) << text.status().to_string();
  return text->tokenizer;
}

TEST(ShapeMetadata, HasAVocabularyOfWholeCharacters) {
  for (const char* name : {"tiny", "olmoe-1b-7b", "qwen3-30b-a3b"}) {
    const ModelShape& shape = *find_shape(name);
    const auto tokenizer = tokenizer_of(shape);
    ASSERT_EQ(tokenizer->vocab_size(), shape.vocab);
    std::set<std::string> seen;
    for (Token id = 0; id < shape.vocab; ++id) {
      const std::string bytes = tokenizer->decode(std::vector<Token>{id}, false);
      ASSERT_FALSE(bytes.empty()) << id;
      ASSERT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](char c) { return c >= 0; })) << id << " is not ASCII";
      ASSERT_TRUE(seen.insert(bytes).second) << id;
    }
    const std::string said = "Tell me of 3 tales:\n\tthe sea, the land";
    auto ids = tokenizer->encode(said);
    ASSERT_TRUE(ids.ok());
    EXPECT_LT(ids->size(), said.size());
    EXPECT_EQ(tokenizer->decode(*ids), said);
  }
}

}  // namespace
}  // namespace foregate
