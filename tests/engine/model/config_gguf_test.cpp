// GGUF metadata: what each architecture reads of it, and every refusal by name.
#include "engine/model/config_gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "engine/model/gguf_names.h"
#include "engine/model/model_source.h"
#include "tests/engine/model/made_gguf.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

using Edit = std::function<void(GgufBuilder&)>;

Result<ModelConfig> read(const std::string& arch, const Edit& edit = {}) {
  GgufBuilder file = made_gguf({.arch = arch});
  if (edit) edit(file);
  MemoryFiles disk;
  disk.contents["m.gguf"] = file.bytes();
  auto opened = open_model(disk, "m.gguf");
  if (!opened.ok()) return opened.status();
  return std::move(opened.value().config);
}

TEST(GgufConfig, ReadsEveryArchitecture) {
  for (const GgufArch& arch : all_gguf_archs()) {
    SCOPED_TRACE(arch.name);
    const bool olmoe = arch.arch == &kArchOlmoe;
    const auto model = read(arch.name, [&](GgufBuilder& file) {
      if (olmoe) file.u32("olmoe.attention.head_count", 4);
    });
    ASSERT_TRUE(model.ok()) << model.status().to_string();
    EXPECT_EQ(model->arch, arch.arch);
    EXPECT_EQ(model->names, &kGgufNames);
    EXPECT_EQ(model->vocab_size, 96);
    EXPECT_EQ(model->hidden_size, 32);
    EXPECT_EQ(model->heads, 4);
    EXPECT_EQ(model->kv_heads, 2);
    EXPECT_EQ(model->head_dim, 8);
    EXPECT_EQ(model->max_positions, 512);
    EXPECT_EQ(model->layers.size(), 2u);
    EXPECT_EQ(model->layers[1].ffn_intermediate, 32);
    EXPECT_EQ(model->layers[1].sparse, arch.arch->sparse);
    EXPECT_FLOAT_EQ(model->rms_norm_eps, 1e-6f);
    EXPECT_FALSE(model->tied_embeddings);
    EXPECT_EQ(model->paired_rope_rows, std::string(arch.name) == "llama");
    EXPECT_EQ(model->shared_intermediate, std::string(arch.name) == "qwen2moe" ? 32 : 0);
    EXPECT_EQ(model->router.experts, arch.arch->sparse ? 4 : 0);
    EXPECT_EQ(model->eos, std::vector<Token>{3});
    EXPECT_EQ(model->dtype, "F32");
    EXPECT_EQ(model->ropes.at(0).theta, 10000.0);
  }
}

TEST(GgufConfig, SmallThinkerHasAllOrAWindowByLayer) {
  const auto windowed = [](auto& f) {
    f.u32("smallthinker.attention.sliding_window", 64);
    f.u32("smallthinker.expert_gating_func", 1);
  };
  for (const bool window : {false, true}) {
    const auto model = read("smallthinker", window ? Edit(windowed) : Edit());
    ASSERT_TRUE(model.ok()) << model.status().to_string();
    EXPECT_EQ(model->activation, Activation::kRelu);
    EXPECT_EQ(model->router.score, RouterScore::kIdentity);
    EXPECT_EQ(model->router.weights, window ? RouterWeights::kSoftmaxOfSelected : RouterWeights::kSigmoidOfSelected);
    EXPECT_EQ(model->layers[0].rope, window ? -1 : 0);
    EXPECT_EQ(model->layers[0].window, 0);
    EXPECT_EQ(model->layers[1].rope, 0);
    EXPECT_EQ(model->layers[1].window, window ? 64 : 0);
  }
  const auto neither = read("smallthinker", [](auto& f) { f.u32("smallthinker.expert_gating_func", 3); });
  EXPECT_EQ(neither.status().code(), Code::kUnimplemented);
}

TEST(GgufConfig, RouterWeightsAreAsTheArchitectureOrTheKeySays) {
  const auto weights = [](const std::string& arch, const Edit& edit = {}) {
    const auto model = read(arch, edit);
    EXPECT_TRUE(model.ok()) << model.status().to_string();
    return model.ok() ? model->router.weights : RouterWeights::kSoftmaxOfSelected;
  };
  EXPECT_EQ(weights("olmoe"), RouterWeights::kRaw);
  EXPECT_EQ(weights("qwen2moe"), RouterWeights::kRaw);
  EXPECT_EQ(weights("qwen3moe"), RouterWeights::kRenormalize);
  EXPECT_EQ(weights("llama"), RouterWeights::kRenormalize);
  EXPECT_EQ(weights("olmoe", [](auto& f) { f.flag("olmoe.expert_weights_norm", true); }), RouterWeights::kRenormalize);
  EXPECT_EQ(weights("qwen3moe", [](auto& f) { f.flag("qwen3moe.expert_weights_norm", false); }), RouterWeights::kRaw);
  const auto scaled = read("qwen3moe", [](auto& f) { f.f32("qwen3moe.expert_weights_scale", 2.5f); });
  ASSERT_TRUE(scaled.ok());
  EXPECT_EQ(scaled->router.scale, 2.5f);
  EXPECT_TRUE(read("qwen3moe", [](auto& f) { f.u32("qwen3moe.expert_gating_func", 1); }).ok());
}

TEST(GgufConfig, DenseLayersAreThoseWithoutARouter) {
  const auto model = read("qwen3moe", [](GgufBuilder& file) {
    file.u32("qwen3moe.feed_forward_length", 64);
    file.drop_tensor("blk.0.ffn_gate_inp.weight");
  });
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_FALSE(model->layers[0].sparse);
  EXPECT_EQ(model->layers[0].ffn_intermediate, 64);
  EXPECT_TRUE(model->layers[1].sparse);
  EXPECT_EQ(model->layers[1].ffn_intermediate, 32);
}

TEST(GgufConfig, WidthsComeFromTensorsWhereKeysAreMissing) {
  const auto model = read("qwen2moe", [](GgufBuilder& file) {
    file.drop("qwen2moe.expert_feed_forward_length");
    file.drop("qwen2moe.expert_shared_feed_forward_length");
    file.drop("qwen2moe.attention.head_count_kv");
    file.drop("qwen2moe.attention.key_length");
    file.drop("qwen2moe.attention.value_length");
  });
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->layers[0].ffn_intermediate, 32);
  EXPECT_EQ(model->shared_intermediate, 32);
  EXPECT_EQ(model->kv_heads, 4);
  EXPECT_EQ(model->head_dim, 8);
}

TEST(GgufConfig, BiasesAndTiesAreThoseOfTheTensors) {
  const auto model = read("qwen2moe", [](GgufBuilder& file) {
    file.counting("blk.0.attn_q.bias", {32});
    file.drop_tensor("output.weight");
  });
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_TRUE(model->qkv_bias);
  EXPECT_FALSE(model->output_bias);
  EXPECT_TRUE(model->tied_embeddings);
}

TEST(GgufConfig, Windows) {
  for (const char* arch : {"llama", "qwen3moe"}) {
    const auto model = read(arch, [&](auto& f) { f.u32(std::string(arch) + ".attention.sliding_window", 64); });
    ASSERT_TRUE(model.ok()) << model.status().to_string();
    for (const LayerConfig& layer : model->layers) EXPECT_EQ(layer.window, 64);
  }
  EXPECT_TRUE(read("qwen2moe", [](auto& f) { f.u32("qwen2moe.attention.sliding_window", 0); }).ok());
}

TEST(GgufConfig, EndsOfText) {
  const auto model = read("qwen3moe", [](GgufBuilder& file) {
    add_text(file, 96);
    file.u32("tokenizer.ggml.bos_token_id", 5);
    file.u32("tokenizer.ggml.eos_token_id", 7);
    file.u32("tokenizer.ggml.eot_token_id", 9);
    file.u32("tokenizer.ggml.eom_token_id", 7);
  });
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->bos, 5);
  EXPECT_EQ(model->eos, (std::vector<Token>{7, 9, 95}));  // 95: <|im_end|>, a control token
  const auto past = read("qwen3moe", [](GgufBuilder& file) {
    file.u32("tokenizer.ggml.bos_token_id", 96);
    file.u32("tokenizer.ggml.eos_token_id", 1u << 30);
  });
  ASSERT_TRUE(past.ok());
  EXPECT_FALSE(past->bos);
  EXPECT_TRUE(past->eos.empty());
}

TEST(GgufConfig, SamplingDefaults) {
  const auto model = read("olmoe", [](GgufBuilder& file) {
    file.f32("general.sampling.temp", 0.7f);
    file.put("general.sampling.top_k", raw(kGgufI32) + raw(20));
    file.f32("general.sampling.top_p", 0.8f);
    file.f32("general.sampling.min_p", 0.05f);
    file.f32("general.sampling.penalty_repeat", 1.1f);
  });
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->sampling.temperature, 0.7f);
  EXPECT_EQ(model->sampling.top_k, 20);
  EXPECT_EQ(model->sampling.top_p, 0.8f);
  EXPECT_EQ(model->sampling.min_p, 0.05f);
  EXPECT_EQ(model->sampling.repetition_penalty, 1.1f);
}

RopeConfig rope(const Edit& edit) {
  const auto model = read("qwen3moe", edit);
  EXPECT_TRUE(model.ok()) << model.status().to_string();
  return model.ok() ? model->ropes.at(0) : RopeConfig{};
}

TEST(GgufConfig, RopeScaling) {
  const auto linear = rope([](auto& f) {
    f.text("qwen3moe.rope.scaling.type", "linear");
    f.f32("qwen3moe.rope.scaling.factor", 2.5f);
  });
  EXPECT_EQ(linear.scaling, RopeScaling::kLinear);
  EXPECT_EQ(linear.factor, 2.5);
  EXPECT_EQ(rope([](auto& f) { f.f32("qwen3moe.rope.scale_linear", 4.0f); }).factor, 4.0);
  EXPECT_EQ(rope([](auto& f) { f.text("qwen3moe.rope.scaling.type", "none"); }).scaling, RopeScaling::kNone);
  EXPECT_EQ(rope([](auto& f) { f.f32("qwen3moe.rope.scaling.factor", 0.0f); }).scaling, RopeScaling::kNone);
  const auto yarn = rope([](auto& f) {
    f.text("qwen3moe.rope.scaling.type", "yarn");
    f.f32("qwen3moe.rope.scaling.factor", 4.0f);
    f.u32("qwen3moe.rope.scaling.original_context_length", 128);
    f.f32("qwen3moe.rope.scaling.yarn_beta_fast", 16.0f);
    f.f32("qwen3moe.rope.scaling.yarn_ext_factor", 1.0f);
  });
  EXPECT_EQ(yarn.scaling, RopeScaling::kYarn);
  EXPECT_EQ(yarn.original_positions, 128.0);
  EXPECT_EQ(yarn.beta_fast, 16.0);
  EXPECT_EQ(yarn.beta_slow, 1.0);
  EXPECT_DOUBLE_EQ(yarn.magnitude, 0.1 * std::log(4.0) + 1.0);
  const auto given = rope([](auto& f) {
    f.text("qwen3moe.rope.scaling.type", "yarn");
    f.f32("qwen3moe.rope.scaling.factor", 4.0f);
    f.f32("qwen3moe.rope.scaling.yarn_attn_factor", 1.5f);
    f.f32("qwen3moe.rope.scaling.attn_factor", 2.0f);
  });
  EXPECT_EQ(given.magnitude, 3.0);
}

TEST(GgufConfig, RopeDivisors) {
  const auto divided = rope([](auto& f) { f.counting("rope_freqs.weight", {4}, 1.0f); });
  EXPECT_EQ(divided.scaling, RopeScaling::kDivisors);
  const auto plain = rope_frequencies(rope({}));
  const auto frequencies = rope_frequencies(divided);
  ASSERT_EQ(frequencies.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(frequencies[i], plain[i] / static_cast<float>(i + 1));
}

struct Refusal {
  const char* arch;
  Edit edit;
  const char* field;
  const char* message;
  Code code = Code::kInvalidArgument;
};

void expect_refused(const std::vector<Refusal>& cases) {
  for (const Refusal& each : cases) {
    SCOPED_TRACE(std::string(each.arch) + " " + each.field + " " + each.message);
    const auto model = read(each.arch, each.edit);
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.status().code(), each.code) << model.status().to_string();
    EXPECT_EQ(model.status().field(), each.field) << model.status().to_string();
    EXPECT_NE(model.status().message().find(each.message), std::string::npos) << model.status().message();
    EXPECT_NE(model.status().message().find("m.gguf"), std::string::npos) << model.status().message();
  }
}

TEST(GgufConfig, ArchitecturesThatAreNotKnown) {
  const Code code = Code::kUnimplemented;
  expect_refused({
      {"olmoe", [](auto& f) { f.text("general.architecture", "mamba"); }, "general.architecture",
       "\"mamba\" is not supported; known: olmoe", code},
      {"olmoe", [](auto& f) { f.drop("general.architecture"); }, "general.architecture", "\"\" is not supported", code},
      {"llama", [](auto& f) { f.drop("llama.expert_count"); }, "general.architecture", "without experts", code},
      {"olmoe", [](auto& f) { f.u32("general.architecture", 1); }, "general.architecture", "is a u32, not a string"},
      {"olmoe", [](auto& f) { f.texts("general.architecture", {"olmoe"}); }, "general.architecture",
       "is an array of 1 string", code},
  });
}

TEST(GgufConfig, BoundsOfSizes) {
  std::vector<Refusal> cases;
  for (const char* key : {"context_length", "embedding_length", "block_count", "attention.head_count",
                          "attention.layer_norm_rms_epsilon", "expert_count", "expert_used_count"}) {
    static std::vector<std::string> names;
    names.reserve(64);
    names.push_back(std::string("qwen3moe.") + key);
    const char* name = names.back().c_str();
    cases.push_back({"qwen3moe", [name](auto& f) { f.drop(name); }, name, "is missing"});
    cases.push_back({"qwen3moe", [name](auto& f) { f.text(name, "4"); }, name, "is a string, not"});
    cases.push_back({"qwen3moe", [name](auto& f) { f.put(name, raw(kGgufU64) + raw(~std::uint64_t{0})); }, name, ""});
    cases.push_back({"qwen3moe", [name](auto& f) { f.put(name, raw(kGgufI32) + raw(-1)); }, name, "must lie between"});
    cases.push_back({"qwen3moe",
                     [name](auto& f) {
                       f.i32s(name, {4, 4});
                     },
                     name, "is an array of 2 i32", Code::kUnimplemented});
    if (std::string(key).find("epsilon") != std::string::npos) continue;
    cases.push_back({"qwen3moe", [name](auto& f) { f.u32(name, 0); }, name, "must lie between 1"});
    cases.push_back({"qwen3moe", [name](auto& f) { f.f32(name, 4.0f); }, name, "is a f32, not an integer"});
    cases.push_back({"qwen3moe", [name](auto& f) { f.put(name, raw(kGgufU64) + raw(std::uint64_t{1} << 40)); }, name,
                     "must lie between 1"});
  }
  expect_refused(cases);
}

TEST(GgufConfig, ValuesThatDoNotFitOneAnother) {
  expect_refused({
      {"qwen3moe", [](auto& f) { f.u32("qwen3moe.attention.head_count_kv", 3); }, "qwen3moe.attention.head_count_kv",
       "does not divide"},
      {"qwen3moe", [](auto& f) { f.u32("qwen3moe.attention.key_length", 7); }, "qwen3moe.attention.key_length",
       "is odd"},
      {"qwen3moe", [](auto& f) { f.u32("qwen3moe.expert_used_count", 5); }, "qwen3moe.expert_used_count",
       "larger than expert_count"},
      {"olmoe", [](auto& f) { f.u32("olmoe.attention.key_length", 16); }, "olmoe.attention.value_length", "other than",
       Code::kUnimplemented},
      {"llama",
       [](auto& f) {
         f.drop("llama.attention.key_length");
         f.u32("llama.attention.head_count", 6);
       },
       "llama.embedding_length", "is not a multiple of the head count"},
      {"qwen3moe", [](auto& f) { f.f32("qwen3moe.attention.layer_norm_rms_epsilon", NAN); },
       "qwen3moe.attention.layer_norm_rms_epsilon", "must lie between"},
      {"qwen3moe", [](auto& f) { f.f32("qwen3moe.rope.freq_base", 0.0f); }, "qwen3moe.rope.freq_base",
       "must lie between"},
      {"qwen3moe", [](auto& f) { f.f32("general.sampling.top_p", 1.5f); }, "general.sampling.top_p",
       "must lie between"},
      {"qwen3moe", [](auto& f) { f.text("general.sampling.temp", "hot"); }, "general.sampling.temp", "not a number"},
      {"qwen3moe", [](auto& f) { f.u32("qwen3moe.expert_weights_norm", 1); }, "qwen3moe.expert_weights_norm",
       "is a u32, not a bool"},
      {"qwen3moe", [](auto& f) { f.f32("qwen3moe.rope.scaling.factor", 0.5f); }, "qwen3moe.rope.scaling.factor",
       "is below 1"},
  });
}

TEST(GgufConfig, WhatIsUnderstoodButNotSupported) {
  const Code code = Code::kUnimplemented;
  std::vector<Refusal> cases = {
      {"qwen3moe", [](auto& f) { f.u32("qwen3moe.rope.dimension_count", 4); }, "qwen3moe.rope.dimension_count",
       "other than the key length", code},
      {"qwen3moe", [](auto& f) { f.text("qwen3moe.rope.scaling.type", "longrope"); }, "qwen3moe.rope.scaling.type",
       "\"longrope\" is not supported", code},
      {"qwen3moe", [](auto& f) { f.f32("qwen3moe.rope.scaling.yarn_log_multiplier", 0.1f); },
       "qwen3moe.rope.scaling.yarn_log_multiplier", "is not supported", code},
      {"qwen3moe", [](auto& f) { f.u32("qwen3moe.expert_gating_func", 2); }, "qwen3moe.expert_gating_func",
       "other than 1 (softmax)", code},
      {"qwen3moe", [](auto& f) { f.u32("qwen3moe.expert_group_count", 8); }, "qwen3moe.expert_group_count", "above 1",
       code},
      {"qwen3moe", [](auto& f) { f.u32("qwen3moe.nextn_predict_layers", 1); }, "qwen3moe.nextn_predict_layers",
       "is not supported", code},
      {"olmoe", [](auto& f) { f.f32("olmoe.attention.clamp_kqv", 8.0f); }, "olmoe.attention.clamp_kqv",
       "is not supported", code},
      {"qwen2moe", [](auto& f) { f.u32("qwen2moe.attention.sliding_window", 64); }, "qwen2moe.attention.sliding_window",
       "in this architecture", code},
      {"qwen3moe", [](auto& f) { f.flag("qwen3moe.attention.causal", false); }, "qwen3moe.attention.causal", "= false",
       code},
      {"qwen3moe", [](auto& f) { f.counting("blk.0.attn_sinks.weight", {4}); }, "blk.0.attn_sinks.weight",
       "has no meaning in architecture \"qwen3moe\"", code},
      {"qwen3moe", [](auto& f) { f.counting("blk.0.exp_probs_b.bias", {4}); }, "blk.0.exp_probs_b.bias",
       "has no meaning", code},
      {"llama", [](auto& f) { f.counting("blk.0.attn_q.bias", {32}); }, "attn_q.bias", "is not supported", code},
      {"qwen3",
       [](auto& f) {
         f.counting("blk.1.ffn_gate_inp.weight", {32, 2});
       },
       "expert_count", "has no experts here", code},
  };
  expect_refused(cases);
}

TEST(GgufConfig, TensorsThatTheConfigNeeds) {
  const Code code = Code::kDataLoss;
  expect_refused({
      {"qwen3moe", [](auto& f) { f.drop_tensor("token_embd.weight"); }, "token_embd.weight", "is missing", code},
      {"qwen3moe",
       [](auto& f) {
         f.drop_tensor("token_embd.weight");
         f.counting("token_embd.weight", {96});
       },
       "token_embd.weight", "not [vocabulary, width]", code},
      {"qwen3moe", [](auto& f) { f.counting("rope_freqs.weight", {3}, 1.0f); }, "rope_freqs.weight",
       "is not 4 numbers of type F32", code},
      {"qwen3moe", [](auto& f) { f.counting("rope_freqs.weight", {4}, 0.0f); }, "rope_freqs.weight",
       "not a positive number", code},
      {"qwen3moe",
       [](auto& f) {
         f.counting("rope_freqs.weight", {4}, 1.0f);
         f.f32("qwen3moe.rope.scaling.factor", 2.0f);
       },
       "rope_freqs.weight", "together with rope.scaling", Code::kUnimplemented},
  });
}

}  // namespace
}  // namespace foregate
