// quantization_config: what each method reads, and every refusal by name.
#include "engine/model/quantization_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace foregate {
namespace {

using Json = nlohmann::json;

// As the quantizers write them.
Json awq() {
  return Json::parse(R"({"backend":"autoawq","bits":4,"do_fuse":false,"exllama_config":null,"fuse_max_seq_len":null,
    "group_size":128,"modules_to_fuse":null,"modules_to_not_convert":["gate","lm_head"],"quant_method":"awq",
    "version":"gemm","zero_point":true})");
}

Json gptq() {
  return Json::parse(R"({"bits":4,"checkpoint_format":"gptq","damp_percent":0.01,"desc_act":false,
    "dynamic":{"-:.*\\.shared_expert\\..*":{}},"group_size":128,"lm_head":false,"meta":{"quantizer":["x:1"]},
    "pack_dtype":"int32","quant_method":"gptq","static_groups":false,"sym":true,"true_sequential":true})");
}

Json packed() {
  return Json::parse(R"({"config_groups":{"group_0":{"input_activations":null,"output_activations":null,
    "targets":["Linear"],"weights":{"actorder":null,"block_structure":null,"dynamic":false,"group_size":128,
    "num_bits":4,"observer":"minmax","observer_kwargs":{},"strategy":"group","symmetric":true,"type":"int"}}},
    "format":"pack-quantized","global_compression_ratio":null,"ignore":["lm_head","re:.*mlp\\.gate$"],
    "kv_cache_scheme":null,"quant_method":"compressed-tensors","quantization_status":"compressed",
    "sparsity_config":{},"transform_config":{},"version":"0.11.0"})");
}

Json fp8() {
  return Json::parse(R"({"activation_scheme":"dynamic","fmt":"e4m3","quant_method":"fp8",
    "weight_block_size":[128,128],"modules_to_not_convert":["lm_head","model.layers.0.mlp.gate"]})");
}

Json float_quantized() {
  return Json::parse(R"({"config_groups":{"group_0":{"input_activations":{"dynamic":true,"num_bits":8,
    "strategy":"token","symmetric":true,"type":"float"},"output_activations":null,"targets":["Linear"],
    "weights":{"actorder":null,"block_structure":null,"dynamic":false,"group_size":null,"num_bits":8,
    "observer":"minmax","strategy":"channel","symmetric":true,"type":"float"}}},"format":"float-quantized",
    "ignore":["lm_head","re:.*mlp\\.gate$"],"kv_cache_scheme":null,"quant_method":"compressed-tensors"})");
}

Json& packed_weights(Json& config) {
  return config["config_groups"]["group_0"]["weights"];
}

Result<QuantizationConfig> read(const Json& quantization) {
  return read_quantization_config({{"quantization_config", quantization}}, "config.json");
}

TEST(QuantizationConfig, NoneIsPlain) {
  for (const Json& root : {Json::object(), Json{{"quantization_config", nullptr}}}) {
    const auto config = read_quantization_config(root, "config.json");
    ASSERT_TRUE(config.ok());
    EXPECT_FALSE(config->rule);
    EXPECT_TRUE(config->skipped.empty());
  }
}

TEST(QuantizationConfig, ReadsAwq) {
  const auto config = read(awq());
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->rule->storage, Storage::kAwq);
  EXPECT_EQ(config->rule->group_cols, 128);
  EXPECT_FALSE(config->rule->symmetric);
  EXPECT_TRUE(*config->skipped.match("model.layers.3.block_sparse_moe.gate"));
  EXPECT_FALSE(*config->skipped.match("model.layers.3.block_sparse_moe.experts.1.w1"));
}

TEST(QuantizationConfig, ReadsGptq) {
  Json json = gptq();
  auto config = read(json);
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->rule->storage, Storage::kGptq);
  EXPECT_EQ(config->rule->group_cols, 128);
  EXPECT_EQ(config->rule->zero_offset, 1);
  EXPECT_TRUE(config->rule->symmetric);
  EXPECT_FALSE(config->rule->ordered);
  EXPECT_TRUE(*config->skipped.match("model.layers.3.mlp.shared_expert.up_proj"));
  EXPECT_FALSE(*config->skipped.match("model.layers.3.mlp.experts.1.up_proj"));
  json.erase("checkpoint_format");
  json.erase("dynamic");
  json["format"] = "gptq_v2";
  json["sym"] = false;
  json["desc_act"] = true;
  json["group_size"] = -1;
  config = read(json);
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->rule->group_cols, 0);
  EXPECT_EQ(config->rule->zero_offset, 0);
  EXPECT_FALSE(config->rule->symmetric);
  EXPECT_TRUE(config->rule->ordered);
}

TEST(QuantizationConfig, ReadsPackQuantized) {
  Json json = packed();
  auto config = read(json);
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->rule->storage, Storage::kPackQuantized);
  EXPECT_EQ(config->rule->group_cols, 128);
  EXPECT_TRUE(config->rule->symmetric);
  packed_weights(json)["symmetric"] = false;
  packed_weights(json)["strategy"] = "channel";
  packed_weights(json)["group_size"] = -1;
  packed_weights(json)["actorder"] = "static";
  config = read(json);
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->rule->group_cols, 0);
  EXPECT_FALSE(config->rule->symmetric);
  packed_weights(json)["actorder"] = false;
  EXPECT_TRUE(read(json).ok());
}

TEST(QuantizationConfig, ReadsFp8) {
  Json json = fp8();
  auto config = read(json);
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->rule->storage, Storage::kFp8Tiles);
  EXPECT_EQ(config->rule->group_rows, 128);
  EXPECT_EQ(config->rule->group_cols, 128);
  EXPECT_TRUE(*config->skipped.match("model.layers.0.mlp.gate"));
  EXPECT_FALSE(*config->skipped.match("model.layers.0.mlp.experts.1.up_proj"));
  json.erase("weight_block_size");
  json["ignored_layers"] = {"model.layers.1"};
  config = read(json);
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->rule->storage, Storage::kFloatQuantized);
  EXPECT_EQ(config->rule->group_rows, 0);
  EXPECT_TRUE(*config->skipped.match("model.layers.1.self_attn.q_proj"));
}

TEST(QuantizationConfig, ReadsFloatQuantized) {
  Json json = float_quantized();
  const auto expect_rule = [&](std::int64_t group_rows, std::int64_t group_cols) {
    const auto config = read(json);
    ASSERT_TRUE(config.ok()) << config.status().to_string();
    EXPECT_EQ(config->rule->storage, Storage::kFloatQuantized);
    EXPECT_EQ(config->rule->group_rows, group_rows);
    EXPECT_EQ(config->rule->group_cols, group_cols);
  };
  expect_rule(1, 0);
  packed_weights(json)["strategy"] = "tensor";
  expect_rule(0, 0);
  packed_weights(json)["strategy"] = "block";
  packed_weights(json)["block_structure"] = {128, 256};
  expect_rule(128, 256);
}

struct Bad {
  Json config;
  const char* field;
  Code code = Code::kUnimplemented;
};

Json with(Json config, const char* key, const Json& value) {
  config[key] = value;
  return config;
}
Json with_weights(const char* key, const Json& value) {
  Json config = packed();
  packed_weights(config)[key] = value;
  return config;
}

Json with_floats(const char* key, const Json& value) {
  Json config = float_quantized();
  packed_weights(config)[key] = value;
  return config;
}

TEST(QuantizationConfig, RefusesByName) {
  const Code wrong = Code::kInvalidArgument;
  const Json two_groups = {{"group_0", packed()["config_groups"]["group_0"]},
                           {"group_1", packed()["config_groups"]["group_0"]}};
  const std::vector<Bad> cases = {
      {Json::object(), "quantization_config.quant_method"},
      {{{"quant_method", "bitsandbytes"}}, "quantization_config.quant_method"},
      {{{"quant_method", 4}}, "quantization_config.quant_method", wrong},
      {Json(7), "quantization_config", wrong},
      {with(awq(), "bits", 8), "quantization_config.bits"},
      {with(awq(), "bits", 0), "quantization_config.bits", wrong},
      {with(awq(), "bits", "4"), "quantization_config.bits", wrong},
      {with(awq(), "bits", nullptr), "quantization_config.bits", wrong},
      {with(awq(), "version", "gemv"), "quantization_config.version"},
      {with(awq(), "zero_point", false), "quantization_config.zero_point"},
      {with(awq(), "group_size", 0), "quantization_config.group_size", wrong},
      {with(awq(), "group_size", -2), "quantization_config.group_size", wrong},
      {with(awq(), "group_size", 16), "quantization_config.group_size"},
      {with(awq(), "group_size", INT64_MAX), "quantization_config.group_size", wrong},
      {with(awq(), "modules_to_not_convert", "gate"), "quantization_config.modules_to_not_convert", wrong},
      {with(gptq(), "bits", 3), "quantization_config.bits"},
      {with(gptq(), "checkpoint_format", "marlin"), "quantization_config.checkpoint_format"},
      {with(gptq(), "pack_dtype", "int16"), "quantization_config.pack_dtype"},
      {with(gptq(), "group_size", 0), "quantization_config.group_size", wrong},
      {with(gptq(), "group_size", 8), "quantization_config.group_size"},
      {with(gptq(), "sym", 1), "quantization_config.sym", wrong},
      {with(gptq(), "desc_act", "no"), "quantization_config.desc_act", wrong},
      {with(gptq(), "dynamic", {{"+:.*down.*", {{"bits", 8}}}}), "quantization_config.dynamic"},
      {with(packed(), "format", "marlin-24"), "quantization_config.format"},
      {with(packed(), "format", nullptr), "quantization_config.format"},
      {with(packed(), "config_groups", nullptr), "quantization_config.config_groups"},
      {with(packed(), "config_groups", Json::object()), "quantization_config.config_groups"},
      {with(packed(), "config_groups", two_groups), "quantization_config.config_groups"},
      {with(packed(), "config_groups", {{"W4A16", {"Linear"}}}), "quantization_config.config_groups.W4A16.", wrong},
      {with(packed(), "sparsity_config", {{"format", "sparse-24-bitmask"}}), "quantization_config.sparsity_config"},
      {with(packed(), "transform_config", {{"config_groups", {{"R1", 1}}}}), "quantization_config.transform_config"},
      {with_weights("num_bits", 3), "quantization_config.config_groups.group_0.weights.num_bits"},
      {with_weights("type", "float"), "quantization_config.config_groups.group_0.weights.type"},
      {with_weights("strategy", "tensor"), "quantization_config.config_groups.group_0.weights.strategy"},
      {with_weights("group_size", 0), "quantization_config.config_groups.group_0.weights.group_size", wrong},
      {with_weights("group_size", 48), "quantization_config.config_groups.group_0.weights.group_size"},
      {with_weights("group_size", nullptr), "quantization_config.config_groups.group_0.weights.group_size", wrong},
      {with_weights("symmetric", "yes"), "quantization_config.config_groups.group_0.weights.symmetric", wrong},
      {with(fp8(), "fmt", "e5m2"), "quantization_config.fmt"},
      {with(fp8(), "weight_block_size", {128, 64}), "quantization_config.weight_block_size"},
      {with(fp8(), "weight_block_size", {128}), "quantization_config.weight_block_size"},
      {with(fp8(), "weight_block_size", {0, 128}), "quantization_config.weight_block_size", wrong},
      {with(fp8(), "weight_block_size", 128), "quantization_config.weight_block_size", wrong},
      {with(fp8(), "modules_to_not_convert", "gate"), "quantization_config.modules_to_not_convert", wrong},
      {with_floats("num_bits", 4), "quantization_config.config_groups.group_0.weights.num_bits"},
      {with_floats("type", "int"), "quantization_config.config_groups.group_0.weights.type"},
      {with_floats("symmetric", false), "quantization_config.config_groups.group_0.weights.symmetric"},
      {with_floats("strategy", "group"), "quantization_config.config_groups.group_0.weights.strategy"},
      {with_floats("strategy", "block"), "quantization_config.config_groups.group_0.weights.block_structure"},
      {with_weights("actorder", "group"), "quantization_config.config_groups.group_0.weights.actorder"},
  };
  for (const Bad& bad : cases) {
    const auto config = read(bad.config);
    ASSERT_FALSE(config.ok()) << bad.config.dump();
    EXPECT_EQ(config.status().field(), bad.field) << config.status().to_string();
    EXPECT_EQ(config.status().code(), bad.code) << config.status().to_string();
    EXPECT_NE(config.status().message().find("config.json"), std::string::npos);
  }
}

TEST(QuantizationConfig, RefusesAnExpressionThatIsNone) {
  const auto config = read(with(packed(), "ignore", {"re:(", "lm_head"}));
  ASSERT_FALSE(config.ok());
  EXPECT_NE(config.status().message().find("config.json: quantization_config.ignore"), std::string::npos)
      << config.status().to_string();
}

TEST(ModulePatterns, NamesAndExpressions) {
  const auto matches = [](const std::string& entry, const std::string& module) {
    const auto patterns = ModulePatterns::compile({"nothing.like.it", entry}, "ignore");
    EXPECT_TRUE(patterns.ok()) << patterns.status().to_string();
    return *patterns->match(module);
  };
  const std::string up = "model.layers.1.mlp.experts.10.up_proj";
  EXPECT_TRUE(matches("lm_head", "lm_head"));
  EXPECT_TRUE(matches(up, up));
  EXPECT_TRUE(matches("model.layers.1", up));
  EXPECT_TRUE(matches("model.layers.1.", up));
  EXPECT_TRUE(matches("up_proj", up));
  EXPECT_TRUE(matches("10.up_proj", up));
  EXPECT_FALSE(matches("model.layers", "model.layers2.up_proj"));
  EXPECT_FALSE(matches("model.layers.1", "model.layers.10.mlp.up_proj"));
  EXPECT_FALSE(matches("p_proj", up));
  EXPECT_FALSE(matches("experts.10", up));
  EXPECT_FALSE(matches("", up));
  EXPECT_TRUE(matches("re:.*experts\\.1[0-9]\\.up", up));
  EXPECT_TRUE(matches("re:model|other", up));
  EXPECT_FALSE(matches("re:layers", up));
  EXPECT_FALSE(matches("re:.*experts\\.10$", up));
}

TEST(ModulePatterns, ExpressionsHaveBounds) {
  const auto patterns = ModulePatterns::compile({"re:(a|aa|aaa)*(a|aa)*(aa|a)*b"}, "ignore");
  ASSERT_TRUE(patterns.ok()) << patterns.status().to_string();
  const auto match = patterns->match(std::string(200, 'a') + "-b");
  ASSERT_FALSE(match.ok());
  EXPECT_EQ(match.status().field(), "ignore");
}

}  // namespace
}  // namespace foregate
