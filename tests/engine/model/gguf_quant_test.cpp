// Models of GGUF block types: how far their logits lie from those of the same values in F32, and that neither the
// table, chunking, company nor threads change a bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/model/summary.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/model/made_gguf.h"

namespace foregate {
namespace {

using Rows = std::vector<std::vector<float>>;

struct Kind {
  const char* name;
  DType matrices;
  DType down;  // of down projections and the head
};

// Q4_K_M files keep half of these in Q6_K.
const Kind kKinds[] = {
    {"q8_0", DType::kQ8_0, DType::kQ8_0},   {"q4_0", DType::kQ4_0, DType::kQ4_0},
    {"q4_1", DType::kQ4_1, DType::kQ4_1},   {"q5_0", DType::kQ5_0, DType::kQ5_0},
    {"q4_k", DType::kQ4_K, DType::kQ4_K},   {"q5_k", DType::kQ5_K, DType::kQ5_K},
    {"q6_k", DType::kQ6_K, DType::kQ6_K},   {"mxfp4", DType::kMxfp4, DType::kMxfp4},
    {"q4_k_m", DType::kQ4_K, DType::kQ6_K},
};

MadeModel model_of(const Kind& kind, const char* arch) {
  MadeModel model{.arch = arch};
  model.hidden = 256;
  model.width = 256;
  model.head_dim = 64;
  model.kv_heads = std::string(arch) == "olmoe" ? 4 : 2;
  model.matrices = kind.matrices;
  model.down = kind.down;
  return model;
}

std::string file_of(const MadeModel& model, const std::string& name) {
  return write_gguf(made_gguf(model), name + (model.dequantized ? "-f32.gguf" : ".gguf"));
}

std::vector<Token> some_tokens(int count) {
  std::vector<Token> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back((i * 37 + i * i) % 96);
  return tokens;
}

// Largest difference over the largest value, per row.
std::vector<double> distances(const Rows& a, const Rows& b) {
  std::vector<double> rows;
  for (std::size_t i = 0; i < a.size(); ++i) {
    double difference = 0.0;
    double largest = 0.0;
    for (std::size_t v = 0; v < a[i].size(); ++v) {
      difference = std::max(difference, std::fabs(static_cast<double>(a[i][v]) - b[i][v]));
      largest = std::max(largest, std::fabs(static_cast<double>(b[i][v])));
    }
    rows.push_back(difference / largest);
  }
  std::sort(rows.begin(), rows.end());
  return rows;
}

bool same_bits(const Rows& a, const Rows& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i].size() != b[i].size() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

class GgufQuant : public ::testing::TestWithParam<Kind> {};

// The file's own meaning is its blocks as f32 numbers, multiplied by kernels/ref in double sums. Against that the only
// error is that of activations rounded to int8 per group of 32 (quant.h bounds it per product: |w| * amax / 254).
// Through two layers of random weights it grows to 0.014 of the largest logit in the median row, 0.024 in the worst
// kind; a router close to a tie may choose another expert in single rows.
TEST_P(GgufQuant, LogitsAreThoseOfTheDequantizedFile) {
  constexpr double kMedian = 0.035;
  const auto tokens = some_tokens(20);
  for (const char* arch : {"olmoe", "llama"}) {
    MadeModel model = model_of(GetParam(), arch);
    const std::string name = std::string(arch) + "-" + GetParam().name;
    const std::string quantized = file_of(model, name);
    model.dequantized = true;
    Driver exact(file_of(model, name), {.isa = "ref"});
    const Rows expected = exact.run(tokens, tokens.size());
    for (const std::string& isa : runnable_isas()) {
      Driver driver(quantized, {.isa = isa});
      const auto rows = distances(driver.run(tokens, tokens.size()), expected);
      EXPECT_LT(rows[rows.size() / 2], kMedian) << name << " " << isa;
      EXPECT_GT(rows[rows.size() / 2], 1e-5) << name << " " << isa << ": was anything quantized?";
      std::printf("gguf %s %s: median %.2e, largest %.2e of the largest logit\n", name.c_str(), isa.c_str(),
                  rows[rows.size() / 2], rows.back());
    }
  }
}

TEST_P(GgufQuant, ChunksCompanyAndThreadsChangeNoBit) {
  const std::string path = file_of(model_of(GetParam(), "llama"), std::string("bits-") + GetParam().name);
  const auto tokens = some_tokens(90);
  for (const std::string& isa : runnable_isas()) {
    if (isa == "ref") continue;  // one row at a time, and slow
    Driver one(path, {.isa = isa});
    const Rows whole = one.run(tokens, tokens.size());
    for (const std::size_t chunk : {1, 7, 16, 33})
      EXPECT_TRUE(same_bits(one.run(tokens, chunk), whole)) << isa << chunk;
    one.reset();
    std::vector<Driver::Part> parts;
    for (int s = 0; s < 9; ++s) parts.push_back({one.add_sequence(), {tokens.begin() + s, tokens.begin() + s + 5}});
    const Rows together = one.step(parts);
    for (int s = 0; s < 9; ++s) {
      const Rows alone = one.run(parts[static_cast<std::size_t>(s)].tokens, 5);
      EXPECT_TRUE(same_bits({together.begin() + 5 * s, together.begin() + 5 * s + 5}, alone)) << isa << " " << s;
    }
    for (const int threads : {2, 3}) {
      Driver many(path, {.isa = isa, .threads = threads});
      EXPECT_TRUE(same_bits(many.run(tokens, 50), whole)) << isa << " " << threads;
    }
  }
}

void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

INSTANTIATE_TEST_SUITE_P(Kinds, GgufQuant, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return std::string(info.param.name); });

// A packed matrix has as many bytes as its blocks in the file.
TEST(GgufQuant, MemoryIsThatOfTheFile) {
  for (const Kind& kind : kKinds) {
    const std::string path = file_of(model_of(kind, "olmoe"), std::string("size-") + kind.name);
    const auto summary = summarize(local_files(), path, {});
    ASSERT_TRUE(summary.ok()) << summary.status().to_string();
    for (const WeightGroup group :
         {WeightGroup::kEmbedding, WeightGroup::kAttention, WeightGroup::kExperts, WeightGroup::kLmHead}) {
      EXPECT_EQ(summary->group(group).packed_bytes, summary->group(group).file_bytes) << kind.name;
      EXPECT_GT(summary->group(group).file_bytes, 0) << kind.name;
    }
  }
}

}  // namespace
}  // namespace foregate
