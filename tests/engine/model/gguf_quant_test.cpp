// Models of GGUF block types: how far their logits lie from those of the same values in F32, and that neither the
// table, chunking, company nor threads change a bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "engine/model/summary.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/model/made_gguf.h"

namespace foregate {
namespace {

using Rows = std::vector<std::vector<float>>;

struct Kind {
  const char* name;
  const char* arch;
  DType matrices;
  DType down;  // of down projections and the head
};

// Q4_K_M files keep half of these in Q6_K.
const Kind kKinds[] = {
    {"q8_0", "llama", DType::kQ8_0, DType::kQ8_0},    {"q4_0", "olmoe", DType::kQ4_0, DType::kQ4_0},
    {"q4_1", "qwen3moe", DType::kQ4_1, DType::kQ4_1}, {"q5_0", "qwen2moe", DType::kQ5_0, DType::kQ5_0},
    {"q4_k", "llama", DType::kQ4_K, DType::kQ4_K},    {"q5_k", "qwen3", DType::kQ5_K, DType::kQ5_K},
    {"q6_k", "llama", DType::kQ6_K, DType::kQ6_K},    {"mxfp4", "qwen3moe", DType::kMxfp4, DType::kMxfp4},
    {"q4_k_m", "olmoe", DType::kQ4_K, DType::kQ6_K},
};

MadeModel model_of(const Kind& kind) {
  MadeModel model{.arch = kind.arch};
  model.hidden = 256;
  model.width = 256;
  model.head_dim = 64;
  model.experts = 3;
  model.matrices = kind.matrices;
  model.down = kind.down;
  return model;
}

// Written once per program.
std::string file_of(const Kind& kind, bool dequantized = false) {
  static std::map<std::string, std::string> written;
  const std::string name = std::string(kind.name) + (dequantized ? "-f32.gguf" : ".gguf");
  std::string& path = written[name];
  if (path.empty()) {
    MadeModel model = model_of(kind);
    model.dequantized = dequantized;
    path = write_gguf(made_gguf(model), name);
  }
  return path;
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
// Through two layers of random weights it grows to about 0.015 of the largest logit in the median row, and to less than
// kMedian in every kind; a router close to a tie may choose another expert in single rows.
TEST_P(GgufQuant, LogitsAreThoseOfTheDequantizedFile) {
  constexpr double kMedian = 0.035;
  const auto tokens = some_tokens(20);
  Driver exact(file_of(GetParam(), true), {.isa = "ref"});
  const Rows expected = exact.run(tokens, tokens.size());
  for (const std::string& isa : runnable_isas()) {
    Driver driver(file_of(GetParam()), {.isa = isa});
    const auto rows = distances(driver.run(tokens, tokens.size()), expected);
    EXPECT_LT(rows[rows.size() / 2], kMedian) << isa;
    EXPECT_GT(rows[rows.size() / 2], 1e-5) << isa << ": was anything quantized?";
    std::printf("gguf %s %s %s: median %.2e, largest %.2e of the largest logit\n", GetParam().arch, GetParam().name,
                isa.c_str(), rows[rows.size() / 2], rows.back());
  }
}

TEST_P(GgufQuant, ChunksCompanyAndThreadsChangeNoBit) {
  const std::string path = file_of(GetParam());
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

// A packed matrix has as many bytes as its blocks in the file; where those hold scales of six bits, packed as bytes, up
// to 3 % more.
TEST(GgufQuant, MemoryIsThatOfTheFile) {
  for (const Kind& kind : kKinds) {
    const auto summary = summarize(local_files(), file_of(kind), {});
    ASSERT_TRUE(summary.ok()) << summary.status().to_string();
    const bool six_bits = kind.matrices == DType::kQ4_K || kind.matrices == DType::kQ5_K;
    for (const WeightGroup group : {WeightGroup::kEmbedding, WeightGroup::kAttention, WeightGroup::kExperts,
                                    WeightGroup::kDenseFfn, WeightGroup::kLmHead}) {
      const GroupSize& size = summary->group(group);
      EXPECT_GE(size.packed_bytes, size.file_bytes) << kind.name;
      EXPECT_LE(size.packed_bytes, size.file_bytes + (six_bits ? size.file_bytes * 3 / 100 : 0)) << kind.name;
    }
    EXPECT_GT(summary->total.file_bytes, 0);
  }
}

}  // namespace
}  // namespace foregate
