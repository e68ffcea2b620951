// Packing a model in memory and loading it again, and comparing the weights of two models byte by byte.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>

#include "engine/model/pack_model.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/weights/memory_output.h"

namespace foregate::packing {

inline constexpr const char* kQuantizations[] = {"none", "q8_0", "q4_0", "q4_k"};

inline Backend backend(int threads = 2) {
  std::string error;
  return make_backend({.isa = "auto", .threads = threads}, &error);
}

inline PackOptions pack_options(const char* quantization, std::uint64_t max_file_bytes = kMaxDataFileBytes) {
  return {.weights = {quantization_named(quantization)}, .max_file_bytes = max_file_bytes};
}

inline Result<PackReport> pack(const std::string& model, const PackOptions& options, const FileSystem& files,
                               OutputDirectory& out, const PackProgress& progress = {}) {
  const Backend made = backend();
  const auto stream = made.device->create_stream();
  ASSIGN_OR_RETURN(const PackPlan plan, plan_pack(local_files(), model, options));
  return run_pack(plan, files, out, made.ops, *stream, progress);
}

// A model packed in memory, as "m".
inline MemoryFiles packed(const std::string& model, const PackOptions& options) {
  MemoryFiles disk;
  MemoryOutput out(disk, "m");
  const auto report = pack(model, options, disk, out);
  EXPECT_TRUE(report.ok()) << report.status().to_string();
  return disk;
}

struct Loaded {
  Backend made = backend();
  std::unique_ptr<Stream> stream = made.device->create_stream();
  Result<std::unique_ptr<Transformer>> model = internal_error("not loaded");
};

inline Loaded load(const FileSystem& files, const std::string& dir, const LoadOptions& options) {
  Loaded loaded;
  loaded.model = load_transformer(files, dir, *loaded.made.device, loaded.made.ops, *loaded.stream, options);
  return loaded;
}

inline LoadOptions load_options(const char* quantization = "none") {
  return {.max_batched_tokens = 32, .weights = {quantization_named(quantization)}};
}

// Compares weight by weight: format, shape, every byte.
class Comparison {
 public:
  Comparison(const ModelConfig& config, const ModelWeights& a, const ModelWeights& b) {
    matrix(a.embedding, b.embedding);
    matrix(a.lm_head, b.lm_head);
    vector(a.final_norm, b.final_norm, config.hidden_size);
    EXPECT_EQ(a.dense_step_bytes, b.dense_step_bytes);
    EXPECT_EQ(a.expert_bytes, b.expert_bytes);
    for (std::size_t i = 0; i < a.layers.size(); ++i) {
      layer(config, a.layers[i], b.layers[i]);
      const LayerId id{static_cast<std::int32_t>(i)};
      EXPECT_EQ(a.experts.experts(id), b.experts.experts(id));
      for (std::int32_t e = 0; e < a.experts.experts(id); ++e) {
        expert(a.experts.get({id, ExpertId{e}}), b.experts.get({id, ExpertId{e}}));
      }
    }
  }
  int compared() const { return compared_; }

 private:
  void matrix(const PackedWeight& a, const PackedWeight& b) {
    ASSERT_EQ(a.data == nullptr, b.data == nullptr);
    if (a.data == nullptr) return;
    ASSERT_EQ(a.format, b.format);
    ASSERT_EQ(a.rows, b.rows);
    ASSERT_EQ(a.cols, b.cols);
    ASSERT_EQ(std::memcmp(a.data, b.data, static_cast<std::size_t>(packed_bytes(a.format, a.rows, a.cols))), 0);
    ++compared_;
  }
  void vector(const float* a, const float* b, std::int64_t size) {
    ASSERT_EQ(a == nullptr, b == nullptr);
    if (a == nullptr) return;
    ASSERT_EQ(std::memcmp(a, b, static_cast<std::size_t>(size) * sizeof(float)), 0);
    ++compared_;
  }
  void linear(const LinearWeights& a, const LinearWeights& b) {
    matrix(a.weight, b.weight);
    vector(a.bias, b.bias, a.weight.rows);
  }
  void expert(const ExpertWeights& a, const ExpertWeights& b) {
    matrix(a.gate, b.gate);
    matrix(a.up, b.up);
    matrix(a.down, b.down);
  }
  void layer(const ModelConfig& config, const LayerWeights& a, const LayerWeights& b) {
    const bool full = config.arch->qk_norm == QkNorm::kFullWidth;
    vector(a.attention_norm, b.attention_norm, config.hidden_size);
    vector(a.ffn_norm, b.ffn_norm, config.hidden_size);
    linear(a.attention.q, b.attention.q);
    linear(a.attention.k, b.attention.k);
    linear(a.attention.v, b.attention.v);
    linear(a.attention.o, b.attention.o);
    vector(a.attention.q_norm, b.attention.q_norm, full ? config.q_width() : config.head_dim);
    vector(a.attention.k_norm, b.attention.k_norm, full ? config.kv_width() : config.head_dim);
    matrix(a.router.gate, b.router.gate);
    expert(a.dense, b.dense);
    expert(a.shared, b.shared);
    matrix(a.shared_gate, b.shared_gate);
  }
  int compared_ = 0;
};

}  // namespace foregate::packing
