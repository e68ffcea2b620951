// config.json and generation_config.json: what each architecture reads, and every refusal by name.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/engine/model/driver.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

Json base_config() {
  return Json::parse(R"({"architectures":["Qwen3MoeForCausalLM"],"model_type":"qwen3_moe","vocab_size":100,
    "hidden_size":64,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":24,
    "max_position_embeddings":512,"intermediate_size":96,"moe_intermediate_size":48,"num_experts":8,
    "num_experts_per_tok":2,"norm_topk_prob":true,"rms_norm_eps":1e-6,"rope_theta":10000.0,"eos_token_id":3,
    "bos_token_id":1,"hidden_act":"silu","torch_dtype":"bfloat16"})");
}

Result<ModelConfig> read(const std::string& config, const std::string& generation = "") {
  MemoryFiles disk;
  disk.contents["m/config.json"] = config;
  if (!generation.empty()) disk.contents["m/generation_config.json"] = generation;
  return read_model_config(disk, "m");
}

// The base with fields replaced; a value of "absent" removes the field.
Json edited(const Json& changes) {
  Json config = base_config();
  for (const auto& [key, value] : changes.items()) {
    config[key] = value;
    if (value == "absent") config.erase(key);
  }
  return config;
}

TEST(ModelConfig, ReadsTheBase) {
  const auto model = read(base_config().dump());
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->arch, &kArchQwen3Moe);
  EXPECT_EQ(model->q_width(), 96);
  EXPECT_EQ(model->kv_width(), 48);
  EXPECT_EQ(model->router.experts, 8);
  EXPECT_EQ(model->router.weights, RouterWeights::kRenormalize);
  EXPECT_FALSE(model->tied_embeddings);
  EXPECT_EQ(model->eos, std::vector<Token>{3});
  EXPECT_EQ(model->bos, 1);
  EXPECT_EQ(model->dtype, "bfloat16");
  for (const LayerConfig& layer : model->layers) {
    EXPECT_TRUE(layer.sparse);
    EXPECT_EQ(layer.ffn_intermediate, 48);
    EXPECT_EQ(layer.window, 0);
  }
}

Json smallthinker() {
  return Json::parse(R"({"architectures":["SmallThinkerForCausalLM"],"model_type":"smallthinker","vocab_size":100,
    "hidden_size":64,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":24,
    "max_position_embeddings":512,"moe_ffn_hidden_size":48,"moe_num_primary_experts":8,
    "moe_num_active_primary_experts":2,"rope_layout":[0,1,1,1],"sliding_window_layout":[0,1,1,0],
    "sliding_window_size":64,"tie_word_embeddings":true})");
}

TEST(ModelConfig, ReadsSmallThinker) {
  auto model = read(smallthinker().dump());
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->activation, Activation::kRelu);
  EXPECT_EQ(model->router.experts, 8);
  EXPECT_EQ(model->router.top_k, 2);
  EXPECT_EQ(model->router.score, RouterScore::kIdentity);
  EXPECT_EQ(model->router.weights, RouterWeights::kSigmoidOfSelected);
  const std::int32_t ropes[] = {-1, 0, 0, 0};
  const std::int32_t windows[] = {0, 64, 64, 0};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(model->layers[i].sparse);
    EXPECT_EQ(model->layers[i].ffn_intermediate, 48);
    EXPECT_EQ(model->layers[i].rope, ropes[i]);
    EXPECT_EQ(model->layers[i].window, windows[i]);
  }
  Json plain = smallthinker();
  for (const char* key : {"rope_layout", "sliding_window_layout", "sliding_window_size"}) plain.erase(key);
  plain["moe_primary_router_apply_softmax"] = true;
  plain["moe_enable_early_router"] = true;
  model = read(plain.dump());
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->router.weights, RouterWeights::kSoftmaxOfSelected);
  for (const LayerConfig& layer : model->layers) {
    EXPECT_EQ(layer.rope, 0);
    EXPECT_EQ(layer.window, 0);
  }
}

TEST(BadConfig, SmallThinkerIsRefusedByName) {
  const struct {
    Json changes;
    const char* field;
    Code code;
  } cases[] = {{{{"rope_layout", {1, 1}}}, "rope_layout", Code::kInvalidArgument},
               {{{"rope_layout", {1, 1, 1, 2}}}, "rope_layout", Code::kInvalidArgument},
               {{{"sliding_window_layout", {1}}}, "sliding_window_layout", Code::kInvalidArgument},
               {{{"sliding_window_size", nullptr}}, "sliding_window_size", Code::kInvalidArgument},
               {{{"moe_num_active_primary_experts", 9}}, "moe_num_active_primary_experts", Code::kInvalidArgument},
               {{{"moe_enable_early_router", false}}, "moe_enable_early_router", Code::kUnimplemented},
               {{{"moe_enable_secondary_experts", true}}, "moe_enable_secondary_experts", Code::kUnimplemented},
               {{{"moe_shared_primary_experts", 1}}, "moe_shared_primary_experts", Code::kUnimplemented},
               {{{"use_qk_norm", true}}, "use_qk_norm", Code::kUnimplemented}};
  for (const auto& bad : cases) {
    Json config = smallthinker();
    config.update(bad.changes);
    const auto model = read(config.dump());
    ASSERT_FALSE(model.ok()) << bad.field;
    EXPECT_EQ(model.status().field(), bad.field) << model.status().to_string();
    EXPECT_EQ(model.status().code(), bad.code) << model.status().to_string();
  }
}

TEST(ModelConfig, ChoosesDenseLayers) {
  const auto model = read(edited({{"decoder_sparse_step", 2}, {"mlp_only_layers", {3}}}).dump());
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  std::vector<bool> sparse;
  for (const LayerConfig& layer : model->layers) sparse.push_back(layer.sparse);
  EXPECT_EQ(sparse, (std::vector<bool>{false, true, false, false}));
  EXPECT_EQ(model->layers[0].ffn_intermediate, 96);
}

std::vector<std::int32_t> windows(const Json& changes) {
  const auto model = read(edited(changes).dump());
  EXPECT_TRUE(model.ok()) << model.status().to_string();
  std::vector<std::int32_t> out;
  if (!model.ok()) return out;
  for (const LayerConfig& layer : model->layers) out.push_back(layer.window);
  return out;
}

TEST(ModelConfig, WindowRules) {
  using List = std::vector<std::int32_t>;
  EXPECT_EQ(windows({{"sliding_window", 16}}), (List{0, 0, 0, 0}));
  EXPECT_EQ(windows({{"sliding_window", 16}, {"use_sliding_window", true}}), (List{16, 16, 16, 16}));
  const Json mixtral = {{"architectures", {"MixtralForCausalLM"}}};
  Json windowed = mixtral;
  windowed["sliding_window"] = 9;
  EXPECT_EQ(windows(mixtral), (List{0, 0, 0, 0}));
  EXPECT_EQ(windows(windowed), (List{9, 9, 9, 9}));
  Json qwen3 = {{"architectures", {"Qwen3ForCausalLM"}},
                {"sliding_window", 16},
                {"use_sliding_window", true},
                {"max_window_layers", 3}};
  EXPECT_EQ(windows(qwen3), (List{0, 0, 0, 16}));
  qwen3["layer_types"] = {"sliding_attention", "full_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(windows(qwen3), (List{16, 0, 0, 16}));
  Json qwen2 = {{"architectures", {"Qwen2MoeForCausalLM"}},
                {"shared_expert_intermediate_size", 20},
                {"sliding_window", 16},
                {"use_sliding_window", true},
                {"max_window_layers", 3}};
  EXPECT_EQ(windows(qwen2), (List{16, 0, 16, 0}));
}

TEST(ModelConfig, RopeInBothSpellings) {
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 128}};
  const auto old_style = read(edited({{"rope_theta", 5e5}, {"rope_scaling", yarn}}).dump());
  Json parameters = yarn;
  parameters["rope_theta"] = 5e5;
  const auto new_style = read(edited({{"rope_theta", "absent"}, {"rope_parameters", parameters}}).dump());
  ASSERT_TRUE(old_style.ok() && new_style.ok());
  EXPECT_EQ(old_style->ropes[0].theta, 5e5);
  EXPECT_EQ(old_style->ropes[0].scaling, RopeScaling::kYarn);
  EXPECT_NEAR(old_style->ropes[0].magnitude, 0.1 * std::log(4.0) + 1.0, 1e-12);
  EXPECT_EQ(rope_frequencies(old_style->ropes[0]), rope_frequencies(new_style->ropes[0]));
  const auto plain = read(base_config().dump());
  EXPECT_NE(rope_frequencies(old_style->ropes[0]), rope_frequencies(plain->ropes[0]));
}

TEST(ModelConfig, GenerationDefaults) {
  const auto model = read(base_config().dump(), R"({"eos_token_id":[5,7,1000000],"do_sample":true,"temperature":0.6,
    "top_k":20,"top_p":0.95,"repetition_penalty":1.05,"unknown":{}})");
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->eos, (std::vector<Token>{5, 7}));  // an id that no token can have is dropped
  EXPECT_EQ(model->bos, 1);
  EXPECT_EQ(model->sampling.do_sample, true);
  EXPECT_FLOAT_EQ(*model->sampling.temperature, 0.6f);
  EXPECT_EQ(model->sampling.top_k, 20);
  EXPECT_FLOAT_EQ(*model->sampling.top_p, 0.95f);
  EXPECT_FALSE(model->sampling.min_p.has_value());
  EXPECT_FLOAT_EQ(*model->sampling.repetition_penalty, 1.05f);
}

struct BadConfig {
  Json changes;
  const char* field;
  Code code = Code::kInvalidArgument;
};

std::vector<BadConfig> bad_values() {
  std::vector<BadConfig> cases;
  const char* sizes[] = {
      "vocab_size",          "hidden_size",        "num_hidden_layers",       "num_attention_heads",
      "num_key_value_heads", "head_dim",           "max_position_embeddings", "moe_intermediate_size",
      "num_experts",         "num_experts_per_tok"};
  for (const char* key : sizes) {
    for (const Json& value :
         {Json(0), Json(-1), Json(INT64_MIN), Json(1ll << 31), Json(1ll << 32), Json(INT64_MAX), Json(UINT64_MAX),
          Json(1e300), Json(2.5), Json("8"), Json(true), Json(Json::array()), Json(Json::object())}) {
      cases.push_back({{{key, value}}, key});
    }
  }
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "max_position_embeddings", "moe_intermediate_size", "num_experts", "num_experts_per_tok"}) {
    cases.push_back({{{key, "absent"}}, key});
    cases.push_back({{{key, nullptr}}, key});
  }
  return cases;
}

std::vector<BadConfig> bad_meanings() {
  const Code no = Code::kUnimplemented;
  const auto rope = [](const Json& scaling) { return Json{{"rope_scaling", scaling}}; };
  return {
      {{{"num_experts_per_tok", 9}}, "num_experts_per_tok"},
      {{{"num_local_experts", 7}}, "num_experts"},
      {{{"num_key_value_heads", 3}}, "num_key_value_heads"},
      {{{"num_key_value_heads", 8}}, "num_key_value_heads"},
      {{{"head_dim", 7}}, "head_dim"},
      {{{"head_dim", "absent"}, {"num_attention_heads", 5}, {"num_key_value_heads", 5}}, "hidden_size"},
      {{{"architectures", {"OlmoeForCausalLM"}}}, "head_dim"},
      {{{"architectures", {"GptOssForCausalLM"}}}, "architectures", no},
      {{{"architectures", "Qwen3MoeForCausalLM"}}, "architectures"},
      {{{"architectures", {1}}}, "architectures"},
      {{{"architectures", "absent"}, {"model_type", "llama"}}, "architectures", no},
      {{{"architectures", "absent"}, {"model_type", 3}}, "model_type"},
      {{{"hidden_act", "xielu"}}, "hidden_act", no},
      {{{"hidden_act", 1}}, "hidden_act"},
      {{{"quantization_config", Json::object()}}, "quantization_config.quant_method", no},
      {{{"clip_qkv", 8.0}}, "clip_qkv", no},
      {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor", no},
      {{{"rms_norm_eps", 0}}, "rms_norm_eps"},
      {{{"rms_norm_eps", -1e-6}}, "rms_norm_eps"},
      {{{"rms_norm_eps", "1e-6"}}, "rms_norm_eps"},
      {{{"tie_word_embeddings", 1}}, "tie_word_embeddings"},
      {{{"norm_topk_prob", "yes"}}, "norm_topk_prob"},
      {{{"attention_bias", 0}}, "attention_bias"},
      {{{"decoder_sparse_step", 0}}, "decoder_sparse_step"},
      {{{"mlp_only_layers", {4}}}, "mlp_only_layers"},
      {{{"mlp_only_layers", {-1}}}, "mlp_only_layers"},
      {{{"mlp_only_layers", 2}}, "mlp_only_layers"},
      {{{"mlp_only_layers", {0}}, {"intermediate_size", "absent"}}, "intermediate_size"},
      {{{"use_sliding_window", true}, {"sliding_window", 0}}, "sliding_window"},
      {{{"use_sliding_window", true}, {"sliding_window", -4}}, "sliding_window"},
      {{{"architectures", {"Qwen3ForCausalLM"}}, {"layer_types", {"full_attention"}}}, "layer_types"},
      {{{"architectures", {"Qwen3ForCausalLM"}}, {"layer_types", Json::array({"linear_attention", "a", "a", "a"})}},
       "layer_types",
       no},
      {{{"architectures", {"Qwen2MoeForCausalLM"}}}, "shared_expert_intermediate_size"},
      {{{"rope_theta", 0}}, "rope_theta"},
      {{{"rope_theta", -5}}, "rope_theta"},
      {{{"rope_theta", 1e300}}, "rope_theta"},
      {rope("linear"), "rope_scaling"},
      {rope({{"rope_type", "longrope"}, {"factor", 2}}), "rope_scaling.rope_type", no},
      {rope({{"type", "dynamic"}, {"factor", 2}}), "rope_scaling.rope_type", no},
      {rope({{"rope_type", "linear"}}), "rope_scaling.factor"},
      {rope({{"rope_type", "linear"}, {"factor", 0}}), "rope_scaling.factor"},
      {rope({{"rope_type", "llama3"}, {"factor", 8}}), "rope_scaling.low_freq_factor"},
      {rope({{"rope_type", "llama3"},
             {"factor", 8},
             {"low_freq_factor", 4},
             {"high_freq_factor", 4},
             {"original_max_position_embeddings", 64}}),
       "rope_scaling.high_freq_factor"},
      {rope({{"rope_type", "yarn"}, {"factor", 8}, {"attention_factor", -1}}), "rope_scaling.attention_factor"},
      {{{"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.25}}}},
       "rope_parameters.partial_rotary_factor",
       no},
      {{{"eos_token_id", "3"}}, "eos_token_id"},
      {{{"eos_token_id", {3, "4"}}}, "eos_token_id"},
      {{{"eos_token_id", -2}}, "eos_token_id"},
      {{{"eos_token_id", std::vector<int>(300, 3)}}, "eos_token_id"},
      {{{"bos_token_id", 1.5}}, "bos_token_id"},
  };
}

TEST(BadConfig, IsRefusedByName) {
  auto cases = bad_values();
  for (const BadConfig& more : bad_meanings()) cases.push_back(more);
  for (const BadConfig& bad : cases) {
    SCOPED_TRACE(bad.changes.dump().substr(0, 200));
    const auto model = read(edited(bad.changes).dump());
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.status().field(), bad.field) << model.status().to_string();
    EXPECT_EQ(model.status().code(), bad.code) << model.status().to_string();
    EXPECT_NE(model.status().message().find("m/config.json"), std::string::npos);
  }
  std::printf("bad config.json values refused: %zu\n", cases.size());
}

TEST(BadConfig, Texts) {
  const std::string good = base_config().dump();
  const std::string bad[] = {"",
                             "null",
                             "[]",
                             "5",
                             "{",
                             good.substr(0, good.size() / 2),
                             good + "x",
                             std::string("{\"a\":1}\0{}", 10),
                             "{\"hidden_size\":64," + good.substr(1),
                             "{\"x\":" + std::string(100'000, '[') + std::string(100'000, ']') + "}",
                             "{\"rope_theta\":NaN}",
                             "{\"rope_theta\":1e999}",
                             "\xef\xbb\xbf\xff{}",
                             std::string((1 << 20) + 1, ' ')};
  for (const std::string& text : bad) {
    const auto model = read(text);
    ASSERT_FALSE(model.ok()) << text.substr(0, 50);
    EXPECT_NE(model.status().message().find("m/config.json"), std::string::npos) << model.status().message();
  }
  std::printf("bad config.json texts refused: %zu\n", std::size(bad));
  EXPECT_EQ(read_model_config(MemoryFiles(), "m").status().code(), Code::kNotFound);
}

TEST(BadConfig, GenerationFile) {
  const char* bad[] = {"[]",
                       "{",
                       R"({"temperature":-1})",
                       R"({"temperature":"hot"})",
                       R"({"top_k":1e9})",
                       R"({"top_k":-2})",
                       R"({"top_p":1.5})",
                       R"({"min_p":-0.1})",
                       R"({"repetition_penalty":0})",
                       R"({"do_sample":1})",
                       R"({"eos_token_id":{}})",
                       R"({"top_p":0.1,"top_p":0.2})"};
  for (const char* text : bad) {
    const auto model = read(base_config().dump(), text);
    ASSERT_FALSE(model.ok()) << text;
    EXPECT_NE(model.status().message().find("m/generation_config.json"), std::string::npos);
  }
  std::printf("bad generation_config.json files refused: %zu\n", std::size(bad));
}

// Any cut and any one-byte change of config.json is read or refused, never worse.
TEST(BadConfig, Mutations) {
  const std::string good = base_config().dump();
  int refused = 0;
  for (std::size_t size = 0; size < good.size(); ++size) refused += read(good.substr(0, size)).ok() ? 0 : 1;
  EXPECT_EQ(refused, static_cast<int>(good.size()));
  int accepted = 0;
  for (std::size_t at = 0; at < good.size(); ++at) {
    for (const char c : std::string("0 9-.e\"[]{}:,aZ\x01\x7f\xff")) {
      std::string text = good;
      text[at] = c;
      const auto model = read(text);
      (model.ok() ? accepted : refused) += 1;
      if (model.ok()) {
        EXPECT_GE(model->router.experts, model->router.top_k);
      }
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 4000);
  std::printf("config.json mutations: %d refused, %d accepted\n", refused, accepted);
}

}  // namespace
}  // namespace foregate
