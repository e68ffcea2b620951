// Packing what is not a plain Hugging Face directory: GGUF models and quantized checkpoints. The packed directory gives
// the weights, the settings, the logits and the tokens of the original, byte for byte.
#include <unistd.h>

#include <filesystem>

#include "tests/engine/model/made_gguf.h"
#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

namespace fs = std::filesystem;
using namespace packing;

const DType kBlockTypes[] = {DType::kF16,  DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,
                             DType::kQ5_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kMxfp4};

// GGUF files of every architecture, split and whole, and of every type; checkpoints of every storage.
std::vector<std::string> sources() {
  std::vector<std::string> paths;
  for (const std::string& name : gguf_fixture_names()) paths.push_back(gguf_fixture(name));
  for (const auto& entry : fs::directory_iterator(golden_dir("quantized"))) paths.push_back(entry.path());
  for (const DType type : kBlockTypes) {
    const MadeModel model{.arch = "llama", .hidden = 256, .head_dim = 64, .width = 256, .matrices = type, .down = type};
    paths.push_back(write_gguf(made_gguf(model), std::string("pack-") + dtype_name(type) + ".gguf"));
  }
  return paths;
}

void expect_equal(const RopeConfig& a, const RopeConfig& b) {
  EXPECT_EQ(a.scaling, b.scaling);
  EXPECT_EQ(a.rotary_dim, b.rotary_dim);
  EXPECT_EQ(rope_frequencies(a), rope_frequencies(b));
  EXPECT_EQ(a.magnitude, b.magnitude);
}

void expect_equal(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.arch, b.arch);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.max_positions, b.max_positions);
  EXPECT_EQ(a.eos, b.eos);
  EXPECT_EQ(a.bos, b.bos);
  EXPECT_EQ(a.tied_embeddings, b.tied_embeddings);
  EXPECT_EQ(a.shared_intermediate, b.shared_intermediate);
  EXPECT_EQ(a.sampling.temperature, b.sampling.temperature);
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    EXPECT_EQ(a.layers[i].sparse, b.layers[i].sparse);
    EXPECT_EQ(a.layers[i].ffn_intermediate, b.layers[i].ffn_intermediate);
    EXPECT_EQ(a.layers[i].window, b.layers[i].window);
  }
  ASSERT_EQ(a.ropes.size(), b.ropes.size());
  for (std::size_t i = 0; i < a.ropes.size(); ++i) expect_equal(a.ropes[i], b.ropes[i]);
}

TEST(PackedSources, LoadTheWeightsOfTheOriginal) {
  int compared = 0;
  for (const std::string& path : sources()) {
    for (const char* quantization : kQuantizations) {
      SCOPED_TRACE(path + " " + quantization);
      const MemoryFiles disk = packed(path, pack_options(quantization, 60'000));
      const Loaded original = load(local_files(), path, load_options(quantization));
      const Loaded copy = load(disk, "m", load_options());
      ASSERT_TRUE(original.model.ok() && copy.model.ok()) << copy.model.status().to_string();
      const Transformer& a = *original.model.value();
      const Transformer& b = *copy.model.value();
      expect_equal(a.config(), b.config());
      const Comparison comparison(a.config(), a.weights(), b.weights());
      EXPECT_GT(comparison.compared(), 20);
      compared += comparison.compared();
      EXPECT_EQ(plan_pack(disk, "m", pack_options(quantization)).status().field(), "MODEL") << "packed already";
    }
  }
  std::printf("weights compared byte by byte: %d\n", compared);
}

TEST(PackedSources, GiveTheTokensOfTheOriginal) {
  const fs::path base = fs::path(::testing::TempDir()) / ("foregate_sources_" + std::to_string(::getpid()));
  const std::vector<Token> prompt = {1, 30, 7, 64, 12, 90, 3, 55, 41};
  for (const std::string& path : sources()) {
    SCOPED_TRACE(path);
    const std::string dir = base / model_name(path);
    auto out = open_output_directory(dir);
    ASSERT_TRUE(out.ok() && pack(path, pack_options("none"), local_files(), **out).ok());
    for (const std::string& isa : runnable_isas()) {
      if (isa == "ref") continue;
      Driver original(path, {.isa = isa});
      Driver copy(dir, {.isa = isa});
      EXPECT_EQ(original.run(prompt, 4), copy.run(prompt, 4)) << isa;
      EXPECT_EQ(greedy_tokens(original, prompt, 24), greedy_tokens(copy, prompt, 24)) << isa;
    }
  }
  fs::remove_all(base);
}

// A split becomes one directory, whose metadata file holds every key but those of the split.
TEST(PackedSources, MetadataIsKeptWhole) {
  for (const std::string& name : gguf_fixture_names()) {
    SCOPED_TRACE(name);
    const MemoryFiles disk = packed(gguf_fixture(name), pack_options("none"));
    const auto original = open_gguf(local_files(), gguf_fixture(name));
    const auto copy = open_gguf(disk, "m/metadata.gguf");
    ASSERT_TRUE(original.ok() && copy.ok()) << copy.status().to_string();
    std::size_t kept = 0;
    for (const GgufEntry& entry : original->header.metadata) {
      const GgufValue* value = copy->header.find(entry.key);
      EXPECT_EQ(value == nullptr, entry.key.starts_with("split.")) << entry.key;
      if (value == nullptr) continue;
      EXPECT_EQ(value->type, entry.value.type);
      EXPECT_EQ(value->is_array, entry.value.is_array);
      EXPECT_EQ(value->raw, entry.value.raw);
      EXPECT_EQ(value->texts, entry.value.texts);
      ++kept;
    }
    EXPECT_EQ(copy->header.metadata.size(), kept);
    EXPECT_GT(kept, 10u);
    EXPECT_TRUE(copy->tensors.front().empty());
  }
}

// Llama 3.1's divisors are a tensor of the file but part of the configuration.
TEST(PackedSources, RopeDivisorsAreKept) {
  for (const std::uint32_t alignment : {8u, 32u, 256u}) {
    GgufBuilder file = made_gguf({.arch = "llama"});
    file.alignment = alignment;
    file.u32("general.alignment", alignment);
    file.counting("rope_freqs.weight", {4}, 1.5f);
    const std::string path = write_gguf(file, "divided.gguf");
    const MemoryFiles disk = packed(path, pack_options("none"));
    const auto model = open_model(disk, "m");
    ASSERT_TRUE(model.ok()) << model.status().to_string();
    EXPECT_EQ(model->source.kind, ModelKind::kPackedGguf);
    EXPECT_EQ(model->config.ropes[0].scaling, RopeScaling::kDivisors);
    EXPECT_EQ(model->config.ropes[0].divisors, (std::vector<float>{1.5f, 2.5f, 3.5f, 4.5f}));
    EXPECT_EQ(model->index.find("rope_freqs.weight"), nullptr);
  }
}

// Where a file says no width it is read off a tensor, which a pack has expert by expert.
TEST(PackedSources, WidthsAreReadOffThePackedTensors) {
  GgufBuilder file = made_gguf({.arch = "qwen2moe", .width = 64});
  file.drop("qwen2moe.expert_feed_forward_length");
  file.drop("qwen2moe.expert_shared_feed_forward_length");
  const std::string path = write_gguf(file, "widthless.gguf");
  const auto original = open_model(local_files(), path);
  const MemoryFiles disk = packed(path, pack_options("q8_0"));
  const auto copy = open_model(disk, "m");
  ASSERT_TRUE(original.ok() && copy.ok()) << copy.status().to_string();
  expect_equal(original->config, copy->config);
  EXPECT_EQ(copy->config.layers[0].ffn_intermediate, 64);
}

// The metadata of a pack: another model's, damaged, or with a weight in it.
TEST(PackedSources, MetadataThatDoesNotFitIsRefused) {
  const GgufBuilder file = made_gguf({.arch = "olmoe"});
  const MemoryFiles good = packed(write_gguf(file, "good.gguf"), pack_options("none"));
  const auto status = [&good](const std::string& metadata) {
    MemoryFiles disk = good;
    disk.contents["m/metadata.gguf"] = metadata;
    return load(disk, "m", load_options()).model.status();
  };
  ASSERT_TRUE(status(good.contents.at("m/metadata.gguf")).ok());
  GgufBuilder with_weight = file;
  with_weight.tensors.clear();
  with_weight.counting("blk.0.attn_norm.weight", {32});
  EXPECT_EQ(status(with_weight.bytes()).field(), "blk.0.attn_norm.weight");
  EXPECT_NE(status(with_weight.bytes()).message().find("m/metadata.gguf"), std::string::npos);
  GgufBuilder deeper = file;
  deeper.tensors.clear();
  deeper.u32("olmoe.block_count", 3);
  EXPECT_EQ(status(deeper.bytes()).code(), Code::kDataLoss);
  GgufBuilder wider = file;
  wider.tensors.clear();
  wider.u32("olmoe.feed_forward_length", 64);
  EXPECT_EQ(status(wider.bytes()).code(), Code::kDataLoss);
  EXPECT_EQ(status("GGUF").code(), Code::kDataLoss);
  EXPECT_EQ(status(good.contents.at("m/metadata.gguf") + std::string(40, 'x')).code(), Code::kDataLoss);
}

// A pack that stops at any write is gone on with; until then the directory is said to be unfinished.
TEST(PackedSources, StoppedPacksAreTakenUp) {
  const std::string path = write_gguf(made_gguf({}), "stopped.gguf");
  MemoryFiles whole;
  MemoryOutput whole_out(whole, "m");
  ASSERT_TRUE(pack(path, pack_options("q8_0"), whole, whole_out).ok());
  for (std::uint64_t stop = 1; stop <= whole_out.operations; ++stop) {
    MemoryFiles disk;
    MemoryOutput out(disk, "m");
    out.stop_at = stop;
    ASSERT_FALSE(pack(path, pack_options("q8_0"), disk, out).ok());
    const bool named = disk.exists("m/model.fgw.index.json");
    if (!named && disk.exists("m/pack.journal")) {
      EXPECT_NE(open_model(disk, "m").status().message().find("unfinished"), std::string::npos) << stop;
    }
    MemoryOutput again(disk, "m");
    ASSERT_TRUE(pack(path, pack_options("q8_0"), disk, again).ok()) << stop;
    EXPECT_EQ(disk.contents, whole.contents) << stop;
  }
}

// Of the layers that have them; others have none.
TEST(PackedSources, BiasesOfRoutersAreReadAndPacked) {
  GgufBuilder file = made_gguf({});
  file.counting("blk.1.ffn_gate_inp.bias", {4}, 10.0f);
  const std::string path = write_gguf(file, "router-bias.gguf");
  const MemoryFiles disk = packed(path, pack_options("none"));
  Loaded original = load(local_files(), path, load_options());
  Loaded copy = load(disk, "m", load_options());
  for (Loaded* loaded : {&original, &copy}) {
    ASSERT_TRUE(loaded->model.ok()) << loaded->model.status().to_string();
    const ModelWeights& weights = (*loaded->model)->weights();
    EXPECT_EQ(weights.layers[0].router.logit_bias, nullptr);
    const float* bias = weights.layers[1].router.logit_bias;
    ASSERT_NE(bias, nullptr);
    EXPECT_EQ(std::vector<float>(bias, bias + 4), (std::vector<float>{10, 11, 12, 13}));
  }
  GgufBuilder wrong = made_gguf({});
  wrong.counting("blk.1.ffn_gate_inp.bias", {5});
  const Loaded refused = load(local_files(), write_gguf(wrong, "router-bias-5.gguf"), load_options());
  EXPECT_EQ(refused.model.status().code(), Code::kDataLoss);
  EXPECT_EQ(refused.model.status().field(), "blk.1.ffn_gate_inp.bias");
}

}  // namespace
}  // namespace foregate
