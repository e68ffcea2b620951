#include "tests/engine/model/made_gguf.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "kernels/api/blocks.h"
#include "kernels/api/check.h"
#include "kernels/api/quantize.h"

namespace foregate {
namespace {

std::uint32_t number_of(DType type) {
  switch (type) {
    case DType::kF32: return 0;
    case DType::kF16: return 1;
    case DType::kBF16: return 30;
    case DType::kQ4_0: return 2;
    case DType::kQ4_1: return 3;
    case DType::kQ5_0: return 6;
    case DType::kQ8_0: return 8;
    case DType::kQ4_K: return 12;
    case DType::kQ5_K: return 13;
    case DType::kQ6_K: return 14;
    case DType::kMxfp4: return 39;
    default: CHECK(false); return 0;
  }
}

std::string row_bytes(DType type, const std::vector<float>& row) {
  const auto cols = static_cast<std::int64_t>(row.size());
  std::string bytes(static_cast<std::size_t>(dtype_row_bytes(type, cols)), '\0');
  auto* out = reinterpret_cast<std::byte*>(bytes.data());
  if (type == DType::kF32) {
    std::memcpy(out, row.data(), bytes.size());
  } else if (type == DType::kF16 || type == DType::kBF16) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::uint16_t bits = type == DType::kF16 ? narrow_f16(row[i]) : narrow_bf16(row[i]);
      std::memcpy(out + 2 * i, &bits, 2);
    }
  } else {
    quantize_row(type, row.data(), cols, out);
  }
  return bytes;
}

class Maker {
 public:
  explicit Maker(const MadeModel& model) : m_(model), random_(model.seed) {}

  GgufBuilder make() {
    keys();
    matrix("token_embd.weight", {m_.hidden, m_.vocab}, m_.matrices, m_.head ? 1.0f : 0.2f);
    vector("output_norm.weight", m_.hidden);
    if (m_.head) matrix("output.weight", {m_.hidden, m_.vocab}, m_.down);
    for (std::uint32_t i = 0; i < m_.layers; ++i) layer("blk." + std::to_string(i) + ".");
    return std::move(file_);
  }

 private:
  void keys() {
    const std::string p = m_.arch + ".";
    file_.text("general.architecture", m_.arch);
    file_.u32(p + "context_length", 512);
    file_.u32(p + "embedding_length", m_.hidden);
    file_.u32(p + "block_count", m_.layers);
    file_.u32(p + "feed_forward_length", m_.width);
    file_.u32(p + "attention.head_count", m_.heads);
    file_.u32(p + "attention.head_count_kv", m_.kv_heads);
    file_.u32(p + "attention.key_length", m_.head_dim);
    file_.u32(p + "attention.value_length", m_.head_dim);
    file_.u32(p + "rope.dimension_count", m_.head_dim);
    file_.f32(p + "rope.freq_base", 10000.0f);
    file_.f32(p + "attention.layer_norm_rms_epsilon", 1e-6f);
    file_.u32("tokenizer.ggml.eos_token_id", 3);
    if (m_.arch == "qwen3") return;
    file_.u32(p + "expert_count", m_.experts);
    file_.u32(p + "expert_used_count", m_.top_k);
    const bool expert_key = m_.arch.starts_with("qwen") || m_.arch == "smallthinker" || m_.arch.starts_with("foregate");
    if (expert_key) file_.u32(p + "expert_feed_forward_length", m_.width);
    if (m_.arch == "smallthinker") file_.u32(p + "expert_gating_func", 2);
    if (m_.arch == "qwen2moe") file_.u32(p + "expert_shared_feed_forward_length", m_.width);
  }

  void layer(const std::string& stem) {
    const std::uint32_t q = m_.heads * m_.head_dim;
    const std::uint32_t kv = m_.kv_heads * m_.head_dim;
    vector(stem + "attn_norm.weight", m_.hidden);
    matrix(stem + "attn_q.weight", {m_.hidden, q}, m_.matrices);
    matrix(stem + "attn_k.weight", {m_.hidden, kv}, m_.matrices);
    matrix(stem + "attn_v.weight", {m_.hidden, kv}, m_.matrices);
    matrix(stem + "attn_output.weight", {q, m_.hidden}, m_.matrices);
    if (m_.arch == "olmoe") vector(stem + "attn_q_norm.weight", q), vector(stem + "attn_k_norm.weight", kv);
    if (m_.arch.starts_with("qwen3") || m_.arch.starts_with("foregate")) {
      vector(stem + "attn_q_norm.weight", m_.head_dim);
      vector(stem + "attn_k_norm.weight", m_.head_dim);
    }
    vector(stem + "ffn_norm.weight", m_.hidden);
    m_.arch == "qwen3" ? ffn(stem, "") : moe(stem);
  }

  void moe(const std::string& stem) {
    matrix(stem + "ffn_gate_inp.weight", {m_.hidden, m_.experts}, DType::kF32, 1.5f);
    matrix(stem + "ffn_gate_exps.weight", {m_.hidden, m_.width, m_.experts}, m_.matrices);
    matrix(stem + "ffn_up_exps.weight", {m_.hidden, m_.width, m_.experts}, m_.matrices);
    matrix(stem + "ffn_down_exps.weight", {m_.width, m_.hidden, m_.experts}, m_.down);
    if (m_.arch != "qwen2moe") return;
    ffn(stem, "_shexp");
    matrix(stem + "ffn_gate_inp_shexp.weight", {m_.hidden}, DType::kF32);
  }

  void ffn(const std::string& stem, const std::string& kind) {
    matrix(stem + "ffn_gate" + kind + ".weight", {m_.hidden, m_.width}, m_.matrices);
    matrix(stem + "ffn_up" + kind + ".weight", {m_.hidden, m_.width}, m_.matrices);
    matrix(stem + "ffn_down" + kind + ".weight", {m_.width, m_.hidden}, m_.down);
  }

  // Wide enough that logits, router scores and norms are far from flat.
  void matrix(const std::string& name, std::vector<std::uint64_t> dimensions, DType type, float scale = 1.2f) {
    std::uint64_t rows = 1;
    for (std::size_t i = 1; i < dimensions.size(); ++i) rows *= dimensions[i];
    if (!name.starts_with("token_embd")) scale /= std::sqrt(static_cast<float>(dimensions[0]));
    std::normal_distribution<float> noise(0.0f, scale);
    std::vector<float> row(dimensions[0]);
    std::string data;
    for (std::uint64_t r = 0; r < rows; ++r) {
      for (float& value : row) value = noise(random_);
      std::string bytes = row_bytes(type, row);
      if (m_.dequantized && is_block(type)) {
        dequantize_row(type, reinterpret_cast<const std::byte*>(bytes.data()), static_cast<std::int64_t>(row.size()),
                       row.data());
        bytes = row_bytes(DType::kF32, row);
      }
      data += bytes;
    }
    file_.tensor(name, std::move(dimensions), number_of(m_.dequantized && is_block(type) ? DType::kF32 : type), data);
  }

  void vector(const std::string& name, std::uint32_t size) {
    std::normal_distribution<float> noise(1.0f, 0.2f);
    std::vector<float> values(size);
    for (float& value : values) value = noise(random_);
    file_.tensor(name, {size}, 0, row_bytes(DType::kF32, values));
  }

  static bool is_block(DType type) { return dtype_block(type).elements > 1; }

  MadeModel m_;
  std::mt19937 random_;
  GgufBuilder file_;
};

}  // namespace

GgufBuilder made_gguf(const MadeModel& model) {
  return Maker(model).make();
}

void add_text(GgufBuilder& file, std::uint32_t vocab) {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  for (char c = '!'; c <= '~' && tokens.size() < vocab; ++c) tokens.emplace_back(1, c), types.push_back(1);
  while (tokens.size() < vocab) {
    tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
    types.push_back(5);
  }
  tokens[vocab - 1] = "<|im_end|>";
  types[vocab - 1] = 3;
  tokens[vocab - 2] = "ab";
  types[vocab - 2] = 1;
  file.text("tokenizer.ggml.model", "gpt2");
  file.text("tokenizer.ggml.pre", "qwen2");
  file.texts("tokenizer.ggml.tokens", tokens);
  file.i32s("tokenizer.ggml.token_type", types);
  file.texts("tokenizer.ggml.merges", {"a b"});
  file.text("tokenizer.chat_template", "{{ messages[0].content }}<|im_end|>");
}

std::string write_gguf(const GgufBuilder& file, const std::string& name) {
  const std::filesystem::path dir =
      std::filesystem::path(::testing::TempDir()) / ("foregate_gguf_" + std::to_string(::getpid()));
  std::filesystem::create_directories(dir);
  const std::string path = (dir / name).string();
  std::ofstream(path, std::ios::binary) << file.bytes();
  return path;
}

}  // namespace foregate
