// Logits of some tokens alone: the numbers of the whole head, at their places.
#include "engine/model/cut_head.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/engine/model/driver.h"

namespace foregate {
namespace {

using Rows = std::vector<std::vector<float>>;

const std::vector<Token> kPrompt = {5, 300, 400, 17, 2, 90, 1500, 33};
const std::vector<Token> kTokens = {0, 1, 2, 15, 16, 17, 300, 301, 1023, 2048, 4000, 4094, 4095};

TEST(CutHead, GivesTheSameNumbersForItsTokens) {
  for (const std::string& isa : runnable_isas()) {
    SCOPED_TRACE(isa);
    Driver driver(demo_dir(), {.isa = isa});
    const Rows whole = driver.run(kPrompt, 4);
    const std::int64_t bytes = driver.model().weight_bytes();
    ASSERT_TRUE(cut_head(driver.model(), kTokens, false).ok());
    EXPECT_EQ(driver.model().vocab_size(), static_cast<std::int32_t>(kTokens.size()));
    EXPECT_EQ(driver.model().config().vocab_size, 4096) << "it reads all tokens";
    EXPECT_GT(driver.model().weight_bytes(), bytes);
    driver.reset();
    const Rows cut = driver.run(kPrompt, 4);
    ASSERT_EQ(cut.size(), whole.size());
    for (std::size_t row = 0; row < cut.size(); ++row) {
      ASSERT_EQ(cut[row].size(), kTokens.size());
      for (std::size_t i = 0; i < kTokens.size(); ++i) {
        EXPECT_EQ(cut[row][i], whole[row][static_cast<std::size_t>(kTokens[i])]) << row << " " << kTokens[i];
      }
    }
  }
}

TEST(CutHead, InEightBitsItIsNear) {
  for (const char* quantization : {"none", "q8_0", "q4_0"}) {  // of the head before
    SCOPED_TRACE(quantization);
    Driver driver(demo_dir(), {.isa = "generic", .quantization = quantization});
    const Rows whole = driver.run(kPrompt, 8);
    ASSERT_TRUE(cut_head(driver.model(), kTokens, true).ok());
    EXPECT_EQ(driver.model().weights().lm_head.format, WeightFormat::kQ8_0);
    driver.reset();
    const Rows cut = driver.run(kPrompt, 8);
    double difference = 0, size = 0;
    for (std::size_t row = 0; row < cut.size(); ++row) {
      for (std::size_t i = 0; i < kTokens.size(); ++i) {
        const double exact = whole[row][static_cast<std::size_t>(kTokens[i])];
        difference += (cut[row][i] - exact) * (cut[row][i] - exact);
        size += exact * exact;
      }
    }
    EXPECT_LT(std::sqrt(difference / size), 0.02);
  }
}

}  // namespace
}  // namespace foregate
