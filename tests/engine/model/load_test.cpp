// Loading from damaged or wrong weight files, memory limits, progress, sizes, and the guards of
// forward().
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/model/summary.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

std::string file_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// A fixture's files in memory, to be damaged.
MemoryFiles fixture(const std::string& name) {
  MemoryFiles disk;
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors"}) {
    disk.contents[std::string("m/") + file] = file_text(golden_dir(name) + "/" + file);
  }
  return disk;
}

struct Loaded {
  std::unique_ptr<Backend> backend;  // the model keeps references into it
  std::unique_ptr<Stream> stream;
  Result<std::unique_ptr<Transformer>> model = internal_error("not loaded");
};

Loaded load(const FileSystem& files, const LoadOptions& options = {.max_batched_tokens = 32, .progress = {}}) {
  Loaded loaded;
  std::string error;
  loaded.backend = std::make_unique<Backend>(make_backend({.isa = "generic", .threads = 1}, &error));
  loaded.stream = loaded.backend->device->create_stream();
  loaded.model = load_transformer(files, "m", *loaded.backend->device, loaded.backend->ops, *loaded.stream, options);
  return loaded;
}

// Last logits of a short prompt.
std::vector<float> answer(Loaded& loaded) {
  Transformer& model = **loaded.model;
  auto cache = KvCache::create(*loaded.backend->device, model.kv_layout(DType::kF32, 16), 1);
  const std::vector<Token> tokens{5, 6, 7};
  const std::vector<std::int32_t> positions{0, 1, 2};
  const std::vector<std::int64_t> slots{0, 1, 2};
  const std::int32_t block = 0;
  const SeqSpan span{0, 3, 0, &block};
  const std::int32_t row = 2;
  std::vector<float> logits(static_cast<std::size_t>(model.vocab_size()));
  const Status status = model.forward({tokens, positions, slots, {&span, 1}, {&row, 1}}, *cache,
                                      {logits.data(), 1, model.vocab_size(), model.vocab_size()});
  EXPECT_TRUE(status.ok()) << status.to_string();
  return logits;
}

TEST(Load, ReportsProgressAndSizes) {
  const MemoryFiles disk = fixture("qwen3-moe-top4-norm");
  std::uint64_t last = 0;
  std::uint64_t total = 0;
  const LoadOptions options{.max_batched_tokens = 32, .progress = [&](std::uint64_t done, std::uint64_t all) {
                              EXPECT_GT(done, last);
                              last = done;
                              total = all;
                            }};
  Loaded loaded = load(disk, options);
  ASSERT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
  const auto summary = summarize(disk, "m", {});
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, static_cast<std::uint64_t>(summary->total.file_bytes));
  EXPECT_GE((*loaded.model)->weight_bytes(), summary->total.packed_bytes);
  const KvLayout layout = (*loaded.model)->kv_layout(DType::kF32, 1);
  EXPECT_EQ(layout.block_bytes(), summary->kv_bytes_per_position);
}

TEST(Load, SummaryCountsByHand) {
  const auto summary = summarize(local_files(), golden_dir("mixtral-gqa-top2"), {});
  ASSERT_TRUE(summary.ok());
  const std::int64_t hidden = 40, inner = 28, q = 60, kv = 20, vocab = 96, experts = 5, layers = 2;
  EXPECT_EQ(summary->group(WeightGroup::kExperts).parameters, layers * experts * 3 * hidden * inner);
  EXPECT_EQ(summary->group(WeightGroup::kExperts).active, layers * 2 * 3 * hidden * inner);
  EXPECT_EQ(summary->group(WeightGroup::kExperts).tensors, layers * experts * 3);
  EXPECT_EQ(summary->group(WeightGroup::kAttention).parameters, layers * (2 * q * hidden + 2 * kv * hidden));
  EXPECT_EQ(summary->group(WeightGroup::kRouter).packed_bytes, layers * 16 * hidden * 4);
  EXPECT_EQ(summary->group(WeightGroup::kEmbedding).active, hidden);
  EXPECT_EQ(summary->group(WeightGroup::kLmHead).active, vocab * hidden);
  EXPECT_EQ(summary->total.file_bytes, summary->total.parameters * 2);  // bf16 throughout
}

TEST(Load, StepsCountTheBytesTheyRead) {
  const auto summary = summarize(local_files(), golden_dir("mixtral-gqa-top2"), {});
  ASSERT_TRUE(summary.ok());
  Driver driver(golden_dir("mixtral-gqa-top2"), {});
  const int sequence = driver.add_sequence();
  driver.step({{sequence, {1}}});
  const auto one = driver.model().weight_bytes_read();
  // The embedding row that the summary counts is not read as a weight matrix.
  const std::int64_t embedding = summary->group(WeightGroup::kEmbedding).read_per_token;
  EXPECT_EQ(static_cast<std::int64_t>(one), summary->total.read_per_token - embedding);
  driver.step({{sequence, {2, 3, 4, 5, 6, 7, 8, 9}}});
  const auto eight = driver.model().weight_bytes_read() - one;
  EXPECT_GT(eight, one);      // more experts
  EXPECT_LT(eight, 8 * one);  // but the rest once
}

// Rewrites the header of a fixture through `edit`, keeping the data.
std::string with_header(const std::string& file, const std::function<void(nlohmann::json&)>& edit) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  nlohmann::json header = nlohmann::json::parse(file.substr(8, length));
  edit(header);
  const std::string text = header.dump();
  return with_length(text.size(), text + file.substr(8 + length));
}

TEST(BadWeights, MissingAndMisshapenTensorsAreNamed) {
  const MemoryFiles good = fixture("mixtral-gqa-top2");
  const std::string& file = good.contents.at("m/model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  const auto header = nlohmann::json::parse(file.substr(8, length));
  int refused = 0;
  for (const auto& [name, description] : header.items()) {
    if (name == "__metadata__") continue;
    const std::function<void(nlohmann::json&)> edits[] = {
        [&](auto& h) {
          h["renamed"] = h[name];
          h.erase(name);
        },
        [&](auto& h) { h[name]["dtype"] = "I16"; },
        [&](auto& h) { h[name]["shape"].push_back(1); },
        [&](auto& h) {
          auto& shape = h[name]["shape"];
          shape = {shape[0].template get<int>() / 2, 2, shape.size() > 1 ? shape[1].template get<int>() : 1};
        },
    };
    for (const auto& edit : edits) {
      MemoryFiles disk = good;
      disk.contents["m/model.safetensors"] = with_header(file, edit);
      const Loaded loaded = load(disk);
      ASSERT_FALSE(loaded.model.ok()) << name;
      EXPECT_EQ(loaded.model.status().field(), name) << loaded.model.status().to_string();
      ++refused;
    }
  }
  std::printf("missing, misshapen or mistyped tensors refused: %d\n", refused);
  EXPECT_GT(refused, 150);
}

TEST(BadWeights, EveryHeaderByteFlippedIsRefusedOrHarmless) {
  const MemoryFiles good = fixture("qwen3-dense-linear-rope");
  const std::string& file = good.contents.at("m/model.safetensors");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  Loaded reference = load(good);
  const auto expected = answer(reference);
  int refused = 0;
  int equal = 0;
  for (std::size_t at = 0; at < 8 + length; ++at) {
    for (const int bit : {0, 1, 4}) {
      MemoryFiles disk = good;
      disk.contents["m/model.safetensors"][at] ^= static_cast<char>(1 << bit);
      Loaded loaded = load(disk);
      if (!loaded.model.ok()) {
        ++refused;
        continue;
      }
      EXPECT_EQ(answer(loaded), expected) << "byte " << at << " changed the answer in silence";
      ++equal;
    }
  }
  std::printf("header bits flipped in a model: %d refused, %d harmless, 0 silent\n", refused, equal);
  EXPECT_GT(refused, 5000);
}

TEST(BadWeights, EveryFailedReadIsReported) {
  int failures = 0;
  for (std::uint64_t n = 1;; ++n) {
    MemoryFiles disk = fixture("mixtral-gqa-top2");
    disk.fail_read = n;
    const Loaded loaded = load(disk);
    if (disk.reads < n) {
      EXPECT_TRUE(loaded.model.ok()) << loaded.model.status().to_string();
      break;
    }
    ASSERT_FALSE(loaded.model.ok()) << "read " << n;
    EXPECT_EQ(loaded.model.status().code(), Code::kUnavailable);
    ++failures;
  }
  EXPECT_GT(failures, 45);
}

TEST(BadWeights, ConfigThatAsksForMoreThanTheFileHolds) {
  // Absurd but in bounds: refused by shape before memory is taken for it.
  for (const auto& [key, value] : std::map<std::string, int>{{"vocab_size", 1 << 24},
                                                             {"hidden_size", 1 << 20},
                                                             {"num_hidden_layers", 1024},
                                                             {"intermediate_size", 1 << 20},
                                                             {"num_local_experts", 4096},
                                                             {"num_attention_heads", 4096}}) {
    MemoryFiles disk = fixture("mixtral-gqa-top2");
    auto config = nlohmann::json::parse(disk.contents["m/config.json"]);
    config[key] = value;
    disk.contents["m/config.json"] = config.dump();
    const Loaded loaded = load(disk);
    ASSERT_FALSE(loaded.model.ok()) << key;
    EXPECT_EQ(loaded.model.status().code(), Code::kDataLoss) << loaded.model.status().to_string();
    EXPECT_FALSE(loaded.model.status().field().empty());
  }
}

TEST(Load, RefusesAnAbsurdBatch) {
  const MemoryFiles disk = fixture("mixtral-gqa-top2");
  for (const std::int32_t tokens : {0, -1, INT32_MAX}) {
    const Loaded loaded = load(disk, {.max_batched_tokens = tokens, .progress = {}});
    ASSERT_FALSE(loaded.model.ok());
    EXPECT_EQ(loaded.model.status().field(), "max_batched_tokens");
  }
}

struct StepArrays {
  std::vector<Token> tokens{5, 6, 7};
  std::vector<std::int32_t> positions{0, 1, 2};
  std::vector<std::int64_t> slots{0, 1, 2};
  std::vector<std::int32_t> blocks{0};
  std::vector<SeqSpan> spans{{0, 3, 0, nullptr}};
  std::vector<std::int32_t> rows{2};
};

TEST(Forward, GuardsItsMemory) {
  const MemoryFiles disk = fixture("mixtral-gqa-top2");
  Loaded loaded = load(disk);
  ASSERT_TRUE(loaded.model.ok());
  Transformer& model = **loaded.model;
  auto cache = KvCache::create(*loaded.backend->device, model.kv_layout(DType::kF32, 16), 2);
  ASSERT_TRUE(cache.ok());
  const auto run = [&](const std::function<void(StepArrays&)>& edit) {
    StepArrays step;
    edit(step);
    for (SeqSpan& span : step.spans) span.block_table = step.blocks.data();
    std::vector<float> logits(step.rows.size() * 96);
    return model.forward({step.tokens, step.positions, step.slots, step.spans, step.rows}, *cache,
                         {logits.data(), static_cast<std::int64_t>(step.rows.size()), 96, 96});
  };
  EXPECT_TRUE(run([](StepArrays&) {}).ok());
  EXPECT_TRUE(run([](StepArrays& s) { s.rows = {}; }).ok());
  const std::function<void(StepArrays&)> faults[] = {
      [](StepArrays& s) { s.tokens[1] = 96; },
      [](StepArrays& s) { s.tokens[1] = -1; },
      [](StepArrays& s) { s.positions[2] = -1; },
      [](StepArrays& s) { s.positions[2] = 3; },
      [](StepArrays& s) { s.positions.pop_back(); },
      [](StepArrays& s) { s.slots[0] = 32; },
      [](StepArrays& s) { s.slots[0] = -1; },
      [](StepArrays& s) { s.slots.pop_back(); },
      [](StepArrays& s) { s.blocks[0] = 2; },
      [](StepArrays& s) { s.blocks[0] = -1; },
      [](StepArrays& s) { s.spans[0].rows = 4; },
      [](StepArrays& s) { s.spans[0].rows = 2; },
      [](StepArrays& s) { s.spans[0].rows = 0; },
      [](StepArrays& s) { s.spans[0].first_row = -1; },
      [](StepArrays& s) { s.spans[0].first_position = 1; },
      [](StepArrays& s) { s.spans.clear(); },
      [](StepArrays& s) { s.rows[0] = 3; },
      [](StepArrays& s) { s.rows[0] = -1; },
      [](StepArrays& s) {
        s.rows = {0, 1, 2, 2};
      },
      [](StepArrays& s) { s.tokens.assign(33, 1), s.positions.assign(33, 0), s.slots.assign(33, 0); },
  };
  for (std::size_t i = 0; i < std::size(faults); ++i) EXPECT_EQ(run(faults[i]).code(), Code::kInternal) << i;
}

}  // namespace
}  // namespace foregate
