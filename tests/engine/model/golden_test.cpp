// The committed fixtures of tests/golden against the reference classes: logits at every position
// of every prompt, and 64 greedy tokens, on every instruction set that this machine runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "engine/model/gguf_names.h"
#include "tests/engine/model/driver.h"

namespace foregate {
namespace {

constexpr int kPrompts = 5;
constexpr double kLargestError = 1e-3;  // of the largest reference logit of the prompt

struct Worst {
  double error = 0.0;
  int positions = 0;
};

// Largest difference over the largest reference value.
Worst compare(const std::vector<std::vector<float>>& logits, const std::vector<float>& reference) {
  double difference = 0.0;
  double largest = 0.0;
  std::size_t at = 0;
  for (const auto& row : logits) {
    for (const float value : row) {
      difference = std::max(difference, std::abs(static_cast<double>(value) - reference[at]));
      if (std::isnan(value)) difference = INFINITY;
      largest = std::max(largest, std::abs(static_cast<double>(reference[at++])));
    }
  }
  EXPECT_EQ(at, reference.size());
  return {difference / largest, static_cast<int>(logits.size())};
}

// Runs the model at `path` against the reference answers of the fixture `name`.
void expect_reference(const std::string& path, const std::string& name) {
  auto index = TensorIndex::open_file(local_files(), golden_dir(name) + "/golden.safetensors");
  ASSERT_TRUE(index.ok()) << index.status().to_string();
  for (const std::string& isa : runnable_isas()) {
    Driver driver(path, {.isa = isa});
    Worst worst;
    for (int i = 0; i < kPrompts; ++i) {
      const std::string prompt = "prompt." + std::to_string(i);
      const auto tokens = read_tensor<Token>(*index, prompt + ".tokens");
      const auto result = compare(driver.run(tokens, tokens.size()), read_tensor<float>(*index, prompt + ".logits"));
      worst.error = std::max(worst.error, result.error);
      worst.positions += result.positions;
    }
    EXPECT_LE(worst.error, kLargestError) << isa;
    EXPECT_EQ(worst.positions, 1 + 2 + 17 + 64 + 200);
    const auto expected = read_tensor<Token>(*index, "greedy.tokens");
    ASSERT_EQ(expected.size(), 64u);
    EXPECT_EQ(greedy_tokens(driver, read_tensor<Token>(*index, "greedy.prompt"), expected.size()), expected) << isa;
    std::printf("golden %s %s %s %.2e (%d positions, 64 greedy tokens)\n", driver.model().config().arch->model_type,
                path.substr(golden_dir("").size()).c_str(), isa.c_str(), worst.error, worst.positions);
  }
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class Golden : public ::testing::TestWithParam<std::string> {};

TEST_P(Golden, MatchesTheReferenceOnEveryIsa) {
  expect_reference(golden_dir(GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, Golden, ::testing::ValuesIn(golden_names()), test_name);

class GoldenGguf : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenGguf, MatchesTheReferenceOnEveryIsa) {
  expect_reference(gguf_fixture(GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, GoldenGguf, ::testing::ValuesIn(gguf_fixture_names()), test_name);

// Largest difference of each position, over the largest reference value.
std::vector<double> errors_by_position(const std::vector<std::vector<float>>& logits,
                                       const std::vector<float>& reference) {
  double largest = 0.0;
  for (const float value : reference) largest = std::max(largest, std::abs(static_cast<double>(value)));
  std::vector<double> errors;
  std::size_t at = 0;
  for (const auto& row : logits) {
    double worst = 0.0;
    for (const float value : row) worst = std::max(worst, std::abs(static_cast<double>(value) - reference[at++]));
    errors.push_back(worst / largest);
  }
  return errors;
}

// Keys and values in int8 round, but not by much: on every instruction set, against the logits of the reference
// classes. The median of the positions, since a router that is near a tie may choose another expert for some.
TEST_P(Golden, KeysAndValuesInInt8AreClose) {
  constexpr double kRounded = 0.03;
  auto index = TensorIndex::open_file(local_files(), golden_dir(GetParam()) + "/golden.safetensors");
  ASSERT_TRUE(index.ok()) << index.status().to_string();
  for (const std::string& isa : runnable_isas()) {
    Driver exact(golden_dir(GetParam()), {.isa = isa});
    Driver rounded(golden_dir(GetParam()), {.isa = isa, .kv_type = DType::kI8});
    std::vector<double> errors;
    for (int i = 0; i < kPrompts; ++i) {
      const std::string prompt = "prompt." + std::to_string(i);
      const auto tokens = read_tensor<Token>(*index, prompt + ".tokens");
      const auto logits = rounded.run(tokens, tokens.size());
      for (const double error : errors_by_position(logits, read_tensor<float>(*index, prompt + ".logits"))) {
        errors.push_back(error);
      }
      if (tokens.size() == 1) continue;
      EXPECT_NE(logits, exact.run(tokens, tokens.size())) << "nothing was rounded";
    }
    std::ranges::sort(errors);
    const double median = errors[errors.size() / 2];
    EXPECT_LE(median, kRounded) << isa;
    std::printf("int8 cache %s %s median %.2e, largest %.2e\n", GetParam().c_str(), isa.c_str(), median, errors.back());
  }
}

TEST(Golden, EveryArchitectureHasTwoFixtures) {
  std::multiset<std::string> types;
  for (const std::string& name : golden_names()) {
    auto config = read_model_config(local_files(), golden_dir(name));
    ASSERT_TRUE(config.ok()) << config.status().to_string();
    types.insert(config->arch->model_type);
  }
  for (const ArchTable* arch : all_archs()) EXPECT_GE(types.count(arch->model_type), 2u) << arch->model_type;
}

TEST(GoldenGguf, EveryArchitectureHasAFixture) {
  std::set<std::string> types;
  for (const std::string& name : gguf_fixture_names()) {
    auto model = open_model(local_files(), gguf_fixture(name));
    ASSERT_TRUE(model.ok()) << model.status().to_string();
    types.insert(model->config.arch->model_type);
  }
  for (const GgufArch& arch : all_gguf_archs()) EXPECT_EQ(types.count(arch.arch->model_type), 1u) << arch.name;
}

}  // namespace
}  // namespace foregate
