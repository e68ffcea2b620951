// A model in memory whose tokens belong to ranks: a token's embedding points at one of `groups`, the routers of all
// layers follow it, and nothing that layers add turns it far. Experts of a group lie scattered over the numbers.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/placement/clusters.h"
#include "engine/placement/plan.h"
#include "tests/engine/placement/planted_rows.h"
#include "tests/engine/weights/tensor_file.h"

namespace foregate {

struct PlantedModel {
  MemoryFiles files;
  std::vector<LayerHomes> homes;  // by group
  static constexpr const char* kDir = "planted";
};

struct PlantedModelShape {
  std::int32_t top_k = 2;
  std::int32_t groups = 2;
  std::int32_t layers = 8;
  std::int32_t hidden = 256;
  std::int32_t heads = 8;
  std::int32_t head_dim = 32;  // one head of keys and values: a quarter of a row
  std::int32_t experts = 8;
  std::int32_t inner = 16;
  std::int32_t vocab = 64;  // token t is of group t % groups
};

inline PlantedModel planted_model(const PlantedModelShape& shape, std::uint64_t seed = 1) {
  Draws draws(seed, 2);
  const auto noise = [&draws](double size) {
    return static_cast<float>((static_cast<double>(draws.below(2001)) / 1000.0 - 1.0) * size);
  };
  FileTensors tensors;
  const auto add = [&](const std::string& name, std::int64_t rows, std::int64_t cols, double size) -> FileTensor& {
    std::vector<float> values(static_cast<std::size_t>(rows * cols));
    for (float& value : values) value = noise(size);
    return tensors[name] = file_tensor("F32", {rows, cols}, values);
  };
  const auto ones = [&](const std::string& name, std::int64_t size) {
    tensors[name] = file_tensor("F32", {size}, std::vector<float>(static_cast<std::size_t>(size), 1.0f));
  };
  const std::int64_t hidden = shape.hidden, queries = shape.heads * shape.head_dim;
  FileTensor& embedding = add("model.embed_tokens.weight", shape.vocab, hidden, 0.3);
  for (std::int32_t t = 0; t < shape.vocab; ++t) {
    embedding.set(static_cast<std::size_t>(t * hidden + t % shape.groups), 8.0f);
  }
  add("lm_head.weight", shape.vocab, hidden, 0.1);
  ones("model.norm.weight", hidden);
  PlantedModel model;
  for (std::int32_t l = 0; l < shape.layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    model.homes.push_back(shuffled_homes(shape.experts, shape.groups, draws));
    ones(layer + "input_layernorm.weight", hidden);
    ones(layer + "post_attention_layernorm.weight", hidden);
    ones(layer + "self_attn.q_norm.weight", shape.head_dim);
    ones(layer + "self_attn.k_norm.weight", shape.head_dim);
    add(layer + "self_attn.q_proj.weight", queries, hidden, 0.1);
    add(layer + "self_attn.k_proj.weight", shape.head_dim, hidden, 0.1);
    add(layer + "self_attn.v_proj.weight", shape.head_dim, hidden, 0.1);
    add(layer + "self_attn.o_proj.weight", hidden, queries, 0.01);
    FileTensor& gate = add(layer + "mlp.gate.weight", shape.experts, hidden, 0.1);
    for (std::int32_t e = 0; e < shape.experts; ++e) {
      gate.set(static_cast<std::size_t>(e * hidden + model.homes.back()[static_cast<std::size_t>(e)]), 1.0f);
      const std::string expert = layer + "mlp.experts." + std::to_string(e) + ".";
      add(expert + "gate_proj.weight", shape.inner, hidden, 0.1);
      add(expert + "up_proj.weight", shape.inner, hidden, 0.1);
      add(expert + "down_proj.weight", hidden, shape.inner, 0.02);
    }
  }
  model.files.contents[std::string(PlantedModel::kDir) + "/model.safetensors"] = tensor_file(tensors);
  model.files.contents[std::string(PlantedModel::kDir) + "/config.json"] = nlohmann::json{
      {"architectures", {"Qwen3MoeForCausalLM"}},
      {"model_type", "qwen3_moe"},
      {"vocab_size", shape.vocab},
      {"hidden_size", shape.hidden},
      {"num_hidden_layers", shape.layers},
      {"num_attention_heads", shape.heads},
      {"num_key_value_heads", 1},
      {"head_dim", shape.head_dim},
      {"max_position_embeddings", 512},
      {"rope_theta", 10000.0},
      {"rms_norm_eps", 1e-6},
      {"hidden_act", "silu"},
      {"tie_word_embeddings", false},
      {"eos_token_id", 0},
      {"intermediate_size", 64},
      {"num_experts", shape.experts},
      {"num_experts_per_tok", shape.top_k},
      {"moe_intermediate_size", shape.inner},
      {"norm_topk_prob", true},
      {"decoder_sparse_step", 1},
      {"mlp_only_layers", nlohmann::json::array()},
      {"torch_dtype", "float32"}}.dump();
  return model;
}

}  // namespace foregate
