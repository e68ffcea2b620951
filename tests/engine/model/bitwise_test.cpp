// The promise on logits, byte for byte: neither chunking, nor company in a batch, nor the block
// size, nor the number of threads changes one bit of a row.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "tests/engine/model/driver.h"

namespace foregate {
namespace {

using Rows = std::vector<std::vector<float>>;

struct Subject {
  std::string dir;
  std::string quantization = "none";
  DType kv_type = DType::kF32;
};
std::vector<Subject> subjects() {
  std::vector<Subject> all;
  for (const char* name : {"mixtral-window-top1-tied", "olmoe-mha-top8", "qwen2-moe-mixed-layers",
                           "qwen3-moe-top4-norm", "smallthinker-sigmoid-layouts", "pregated-dense-layers"}) {
    all.push_back({golden_dir(name)});
  }
  for (const char* format : {"q8_0", "q4_0"}) all.push_back({demo_dir(), format});
  for (const char* name : {"mixtral-window-top1-tied", "qwen3-moe-top4-norm"}) {
    all.push_back({golden_dir(name), "none", DType::kI8});
  }
  return all;
}

bool same_bits(const Rows& a, const Rows& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size()) return false;
    if (std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0) return false;
  }
  return true;
}

std::vector<Token> random_tokens(std::mt19937& random, std::size_t count) {
  std::vector<Token> tokens(count);
  for (Token& token : tokens) token = static_cast<Token>(random() % 96);
  return tokens;
}

// Every (model, isa) pair; kernels/ref is too slow for the larger, quantized model.
template <class Check>
void on_every_isa(Check check) {
  for (const Subject& subject : subjects()) {
    for (const std::string& isa : runnable_isas()) {
      if (isa == "ref" && subject.quantization != "none") continue;
      SCOPED_TRACE(subject.dir + " " + subject.quantization + " " + dtype_name(subject.kv_type) + " " + isa);
      check(DriverOptions{.isa = isa, .kv_type = subject.kv_type, .quantization = subject.quantization}, subject.dir);
    }
  }
}

TEST(Bitwise, WholePromptEqualsChunks) {
  on_every_isa([](DriverOptions options, const std::string& dir) {
    std::mt19937 random(1);
    const auto tokens = random_tokens(random, 130);
    Driver driver(dir, options);
    const Rows whole = driver.run(tokens, tokens.size());
    for (const std::size_t chunk : {1, 7, 16, 64}) EXPECT_TRUE(same_bits(driver.run(tokens, chunk), whole)) << chunk;
  });
}

TEST(Bitwise, AloneEqualsMixedInABatch) {
  on_every_isa([](DriverOptions options, const std::string& dir) {
    std::mt19937 random(2);
    std::vector<std::vector<Token>> prompts;
    std::vector<Rows> alone;
    Driver driver(dir, options);
    for (const std::size_t length : {61, 5, 33, 17, 48, 1, 26, 9}) {
      prompts.push_back(random_tokens(random, length));
      alone.push_back(driver.run(prompts.back(), prompts.back().size()));
    }
    driver.reset();
    std::vector<Rows> mixed(prompts.size());
    std::vector<std::size_t> done(prompts.size(), 0);
    for (std::size_t i = 0; i < prompts.size(); ++i) driver.add_sequence();
    int widest = 0;
    // Each step takes a random set of sequences, in random order, each with a random chunk.
    for (bool left = true; left;) {
      std::vector<Driver::Part> parts;
      left = false;
      for (std::size_t i = 0; i < prompts.size(); ++i) {
        const std::size_t remaining = prompts[i].size() - done[i];
        left = left || remaining > 0;
        const std::size_t take = std::min<std::size_t>(remaining, random() % 3 == 0 ? 0 : 1 + random() % 12);
        const auto first = prompts[i].begin() + static_cast<std::ptrdiff_t>(done[i]);
        if (take > 0) parts.push_back({static_cast<int>(i), {first, first + static_cast<std::ptrdiff_t>(take)}});
      }
      if (parts.empty()) continue;
      std::shuffle(parts.begin(), parts.end(), random);
      widest = std::max(widest, static_cast<int>(parts.size()));
      const Rows rows = driver.step(parts);
      std::size_t row = 0;
      for (const auto& part : parts) {
        auto& out = mixed[static_cast<std::size_t>(part.sequence)];
        for (std::size_t t = 0; t < part.tokens.size(); ++t) out.push_back(rows[row++]);
        done[static_cast<std::size_t>(part.sequence)] += part.tokens.size();
      }
    }
    EXPECT_GE(widest, 4) << "the batch was never mixed";
    for (std::size_t i = 0; i < prompts.size(); ++i) EXPECT_TRUE(same_bits(mixed[i], alone[i])) << i;
  });
}

TEST(Bitwise, BlockSizesAreEqual) {
  on_every_isa([](DriverOptions options, const std::string& dir) {
    std::mt19937 random(3);
    const auto tokens = random_tokens(random, 100);
    Driver blocks_of_16(dir, options);
    const Rows expected = blocks_of_16.run(tokens, 40);
    for (const std::int32_t size : {1, 5, 128}) {
      options.block_size = size;
      options.blocks = 128;
      Driver driver(dir, options);
      EXPECT_TRUE(same_bits(driver.run(tokens, 40), expected)) << size;
    }
  });
}

TEST(Bitwise, OneThreadEqualsTwoAndThree) {
  on_every_isa([](DriverOptions options, const std::string& dir) {
    std::mt19937 random(4);
    const auto tokens = random_tokens(random, 90);
    Driver one(dir, options);
    const Rows expected = one.run(tokens, 50);
    for (const int threads : {2, 3}) {
      options.threads = threads;
      Driver many(dir, options);
      EXPECT_TRUE(same_bits(many.run(tokens, 50), expected)) << threads;
    }
  });
}

// The comparison itself must be able to fail: one bit of one weight changes some row.
TEST(Bitwise, AChangedWeightIsSeen) {
  std::mt19937 random(5);
  const auto tokens = random_tokens(random, 30);
  Driver driver(golden_dir("qwen3-moe-top4-norm"), {});
  const Rows expected = driver.run(tokens, 30);
  auto* weight = const_cast<float*>(driver.model().weights().final_norm);
  weight[3] = std::nextafterf(weight[3], 100.0f);
  EXPECT_FALSE(same_bits(driver.run(tokens, 30), expected));
}

// A linear op that sums backwards when many rows share the call: within tolerance, but its order
// depends on the batch. f32 weights only.
void batch_dependent_linear(Stream&, const LinearArgs& args) {
  const auto* packed = reinterpret_cast<const float*>(args.weight.data);
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    for (std::int64_t n = 0; n < args.weight.rows; ++n) {
      float sum = 0.0f;
      for (std::int64_t i = 0; i < args.weight.cols; ++i) {
        const std::int64_t k = args.x.rows >= 8 ? args.weight.cols - 1 - i : i;
        sum += packed[((n / kRowInterleave) * args.weight.cols + k) * kRowInterleave + n % kRowInterleave] *
               args.x.data[t * args.x.stride + k];
      }
      args.y.data[t * args.y.stride + n] = sum + (args.bias != nullptr ? args.bias[n] : 0.0f);
    }
  }
}

// The reverse test: with the fixed order broken on purpose, chunks no longer equal the whole.
TEST(Bitwise, ABatchDependentOrderIsSeen) {
  std::mt19937 random(6);
  const auto tokens = random_tokens(random, 40);
  const std::string dir = golden_dir("mixtral-window-top1-tied");
  Driver broken(dir, {.edit_ops = [](OpTable& ops) { ops.linear = batch_dependent_linear; }});
  const Rows whole = broken.run(tokens, tokens.size());
  EXPECT_FALSE(same_bits(broken.run(tokens, 1), whole));
  EXPECT_FALSE(same_bits(broken.run(tokens, 7), whole));
  EXPECT_TRUE(same_bits(broken.run(tokens, 8), whole));
  Driver sound(dir, {});
  const Rows expected = sound.run(tokens, tokens.size());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (std::size_t v = 0; v < whole[i].size(); ++v) EXPECT_NEAR(whole[i][v], expected[i][v], 1e-3);
  }
}

}  // namespace
}  // namespace foregate
