// The shape table against published figures: parameters, and bytes that one token reads in a GGUF file of the shape.
#include "tools/bench/shapes.h"

#include <gtest/gtest.h>

#include "engine/model/summary.h"
#include "engine/model/weight_plan.h"
#include "tools/bench/model_work.h"

namespace foregate {
namespace {

OpenModel opened(const char* shape, const char* format, std::int32_t layers = 0) {
  auto model = open_shape(*find_shape(shape), layers, shape_format(format).value());
  CHECK(model.ok());
  return std::move(model).value();
}

ModelSummary summed(const char* shape, const char* format, std::int32_t layers = 0) {
  auto summary = summarize(opened(shape, format, layers), {});
  CHECK(summary.ok());
  return std::move(summary).value();
}

TEST(Shapes, HaveTheParametersTheirModelsArePublishedWith) {
  const struct {
    const char* shape;
    double total;
    double active;
  } cases[] = {{"olmoe-1b-7b", 6.92e9, 1.28e9},
               {"qwen3-30b-a3b", 30.5e9, 3.3e9},
               {"gpt-oss-20b", 20.9e9, 3.6e9},
               {"mixtral-8x7b", 46.7e9, 12.9e9}};
  for (const auto& expected : cases) {
    const ModelSummary summary = summed(expected.shape, "none");
    EXPECT_NEAR(static_cast<double>(summary.total.parameters) / expected.total, 1.0, 0.01) << expected.shape;
    // Published counts of active parameters differ in whether they take in the embedding table.
    EXPECT_NEAR(static_cast<double>(summary.total.active) / expected.active, 1.0, 0.1) << expected.shape;
  }
}

// Bytes of GGUF files of these shapes, as llama.cpp's quantizer made them: all but the table, top-k of the experts.
TEST(Shapes, ReadAsManyBytesPerTokenAsTheirFiles) {
  const struct {
    const char* shape;
    const char* format;
    std::int32_t layers;
    double gigabytes;
  } cases[] = {
      {"olmoe-1b-7b", "q8_0", 0, 1.259}, {"olmoe-1b-7b", "q4_0", 0, 0.697}, {"olmoe-1b-7b", "q4_k_m", 0, 0.741}};
  for (const auto& expected : cases) {
    const ModelSummary summary = summed(expected.shape, expected.format, expected.layers);
    const auto file_bytes = [&](WeightGroup group) { return static_cast<double>(summary.group(group).file_bytes); };
    const RouterRule& rule = summary.config.router;
    const double idle = 1.0 - static_cast<double>(rule.top_k) / rule.experts;
    const double read = (static_cast<double>(summary.total.file_bytes) - file_bytes(WeightGroup::kEmbedding) -
                         idle * file_bytes(WeightGroup::kExperts)) *
                        1e-9;
    EXPECT_NEAR(read / expected.gigabytes, 1.0, 0.01) << expected.format;
  }
}

TEST(Shapes, WorkPerTokenIsThatOfTheMatricesItReads) {
  for (const ModelShape& shape : all_shapes()) {
    const OpenModel model = opened(shape.name, "none");
    const ModelSummary summary = summed(shape.name, "none");
    const ModelWork work = model_work(model.config);
    double active = 0.0;
    for (const WeightGroup group : {WeightGroup::kAttention, WeightGroup::kRouter, WeightGroup::kExperts}) {
      active += static_cast<double>(summary.group(group).active);
    }
    EXPECT_NEAR(work.row_macs / active, 1.0, 0.001) << shape.name;  // biases are no products
    EXPECT_EQ(work.logits_macs, static_cast<double>(summary.group(WeightGroup::kLmHead).parameters)) << shape.name;
  }
  EXPECT_NEAR(model_work(opened("olmoe-1b-7b", "none").config).row_macs * 1e-9 + 0.103, 1.18, 0.01);
}

TEST(Shapes, EveryMatrixFillsBlocksOfSixteenRows) {
  for (const ModelShape& shape : all_shapes()) {
    for (const char* format : {"none", "q4_k_m", "q6_k", "mxfp4"}) {
      const OpenModel model = opened(shape.name, format, 2);
      ModelWeights weights;
      auto items = plan_weights(model.config, model.index, {}, weights);
      ASSERT_TRUE(items.ok()) << shape.name << " " << format << ": " << items.status().to_string();
      for (const WeightItem& item : *items) {
        if (item.matrix == nullptr || item.group == WeightGroup::kRouter) continue;
        EXPECT_EQ(item.rows % kRowInterleave, 0) << shape.name << " " << item.name;
        EXPECT_EQ(item.cols % format_unit(item.format).cols, 0) << shape.name << " " << item.name;
      }
    }
  }
}

TEST(Shapes, TypesFollowTheQuantization) {
  const auto packed = [](const ModelSummary& summary, WeightGroup group) { return summary.group(group).packed; };
  using Names = std::set<std::string>;
  const ModelSummary mixed = summed("olmoe-1b-7b", "q4_k_m");
  EXPECT_EQ(packed(mixed, WeightGroup::kExperts), (Names{"q4_k", "q6_k"}));
  EXPECT_EQ(packed(mixed, WeightGroup::kLmHead), (Names{"q6_k"}));
  EXPECT_EQ(packed(mixed, WeightGroup::kRouter), (Names{"f32"}));
  EXPECT_EQ(packed(summed("olmoe-1b-7b", "none"), WeightGroup::kExperts), (Names{"bf16"}));
  // The experts of gpt-oss are published in mxfp4, and 2880 columns do not fill blocks of 256.
  const ModelSummary oss = summed("gpt-oss-20b", "q4_k");
  EXPECT_EQ(packed(oss, WeightGroup::kExperts), (Names{"mxfp4"}));
  EXPECT_EQ(packed(oss, WeightGroup::kAttention), (Names{"q4_k", "q8_0"}));  // o has 4096 columns
  EXPECT_EQ(packed(oss, WeightGroup::kLmHead), (Names{"q8_0"}));
}

TEST(Shapes, TakeAsManyLayersAsAsked) {
  EXPECT_EQ(opened("qwen3-30b-a3b", "q4_0").config.layers.size(), 48u);
  EXPECT_EQ(opened("qwen3-30b-a3b", "q4_0", 12).config.layers.size(), 12u);
  const auto model = opened("gpt-oss-20b", "none");
  EXPECT_EQ(model.config.layers[0].window, 128);
  EXPECT_EQ(model.config.layers[1].window, 0);
  EXPECT_EQ(open_shape(*find_shape("tiny"), -1, {}).status().field(), "layers");
  EXPECT_EQ(open_shape(*find_shape("tiny"), 1001, {}).status().field(), "layers");
}

TEST(Shapes, UnknownWordsAreRefusedWithTheKnownOnes) {
  EXPECT_EQ(find_shape("olmoe"), nullptr);
  const auto format = shape_format("q3_k");
  EXPECT_EQ(format.status().code(), Code::kInvalidArgument);
  EXPECT_NE(format.status().message().find("mxfp4"), std::string::npos);
}

TEST(Shapes, WhatIsNotComputedIsSaid) {
  EXPECT_NE(std::string(find_shape("gpt-oss-20b")->note).find("sinks"), std::string::npos);
  EXPECT_STREQ(find_shape("olmoe-1b-7b")->note, "");
}

}  // namespace
}  // namespace foregate
