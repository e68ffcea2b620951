#include "tools/bench/shape_metadata.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "engine/model/gguf_names.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

constexpr std::int32_t kAsciiBytes = 128;
constexpr std::string_view kLetters = "etaoinshrdlcumwfgypbvkjxqz";
constexpr const char* kEndOfText = "<|endoftext|>";
constexpr std::int32_t kNormalToken = 1;
constexpr std::int32_t kControlToken = 3;

// GPT-2's character for a byte of ASCII: those that print nothing are moved up by 256 in order of their value.
std::string byte_text(std::int32_t byte) {
  if (byte > ' ' && byte < 127) return std::string(1, static_cast<char>(byte));
  const std::int32_t moved = 256 + (byte <= ' ' ? byte : ' ' + 1);
  return {static_cast<char>(0xc0 | moved >> 6), static_cast<char>(0x80 | (moved & 0x3f))};
}

template <class T>
GgufValue number_value(GgufType type, const std::vector<T>& values, bool is_array) {
  GgufValue value{.type = type, .is_array = is_array, .count = values.size(), .raw = {}, .texts = {}};
  value.raw.resize(values.size() * sizeof(T));
  std::memcpy(value.raw.data(), values.data(), value.raw.size());
  return value;
}

class Keys {
 public:
  void number(std::string key, std::int64_t value) {
    add(std::move(key), number_value<std::uint32_t>(GgufType::kU32, {static_cast<std::uint32_t>(value)}, false));
  }
  void wide(std::string key, std::uint64_t value) {
    add(std::move(key), number_value<std::uint64_t>(GgufType::kU64, {value}, false));
  }
  void real(std::string key, float value) { add(std::move(key), number_value<float>(GgufType::kF32, {value}, false)); }
  void precise(std::string key, double value) {
    add(std::move(key), number_value<double>(GgufType::kF64, {value}, false));
  }
  void flag(std::string key, bool value) {
    add(std::move(key), number_value<std::uint8_t>(GgufType::kBool, {std::uint8_t{value}}, false));
  }
  void numbers(std::string key, const std::vector<std::int32_t>& values) {
    add(std::move(key), number_value(GgufType::kI32, values, true));
  }
  void text(std::string key, std::string value) {
    add(std::move(key),
        {.type = GgufType::kText, .is_array = false, .count = 1, .raw = {}, .texts = {std::move(value)}});
  }
  void texts(std::string key, std::vector<std::string> values) {
    const std::uint64_t count = values.size();
    add(std::move(key),
        {.type = GgufType::kText, .is_array = true, .count = count, .raw = {}, .texts = std::move(values)});
  }
  std::vector<GgufEntry> take() {
    std::sort(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
    return std::move(entries_);
  }

 private:
  void add(std::string key, GgufValue value) { entries_.push_back({std::move(key), std::move(value)}); }
  std::vector<GgufEntry> entries_;
};

void add_model(const ModelShape& shape, const ModelConfig& config, const GgufArch& arch, Keys& keys) {
  const std::string stem = std::string(arch.name) + ".";
  keys.text("general.architecture", arch.name);
  keys.text("general.name", std::string("random ") + shape.name);
  keys.number(stem + "vocab_size", shape.vocab);
  keys.number(stem + "context_length", shape.positions);
  keys.number(stem + "embedding_length", shape.hidden);
  keys.number(stem + "block_count", static_cast<std::int64_t>(config.layers.size()));
  keys.number(stem + arch.expert_width_key, shape.expert_ffn);
  keys.number(stem + "expert_count", shape.experts);
  keys.number(stem + "expert_used_count", shape.top_k);
  keys.flag(stem + "expert_weights_norm", shape.normalized_topk);
  keys.number(stem + "attention.head_count", shape.heads);
  keys.number(stem + "attention.head_count_kv", shape.kv_heads);
  keys.number(stem + "attention.key_length", shape.head_dim);
  keys.number(stem + "attention.value_length", shape.head_dim);
  keys.real(stem + "attention.layer_norm_rms_epsilon", shape.rms_norm_eps);
  keys.precise(stem + "rope.freq_base", shape.rope_theta);
}

void add_vocab(std::int32_t size, Keys& keys) {
  ShapeVocab vocab = shape_vocab(size);
  std::vector<std::int32_t> types(vocab.tokens.size(), kNormalToken);
  types.back() = kControlToken;
  keys.text("tokenizer.ggml.model", "gpt2");
  keys.text("tokenizer.ggml.pre", "gpt-2");
  keys.texts("tokenizer.ggml.tokens", std::move(vocab.tokens));
  keys.texts("tokenizer.ggml.merges", std::move(vocab.merges));
  keys.numbers("tokenizer.ggml.token_type", types);
  for (const char* key : {"bos", "eos", "padding"}) {
    keys.number(std::string("tokenizer.ggml.") + key + "_token_id", size - 1);
  }
  keys.flag("tokenizer.ggml.add_bos_token", false);
}

}  // namespace

ShapeVocab shape_vocab(std::int32_t size) {
  CHECK(size > kAsciiBytes);
  ShapeVocab vocab;
  const auto whole = static_cast<std::size_t>(size);
  for (std::int32_t byte = 0; byte < kAsciiBytes; ++byte) vocab.tokens.push_back(byte_text(byte));
  std::vector<std::string> level = {byte_text(' ')};
  for (const char letter : kLetters) level.emplace_back(1, letter);
  while (vocab.tokens.size() + 1 < whole) {
    std::vector<std::string> next;
    for (const char letter : kLetters) {
      for (const std::string& left : level) {
        if (vocab.tokens.size() + 1 == whole) break;
        vocab.merges.push_back(left + " " + letter);
        vocab.tokens.push_back(left + letter);
        next.push_back(left + letter);
      }
    }
    level = std::move(next);
  }
  vocab.tokens.emplace_back(kEndOfText);
  return vocab;
}

Result<GgufHeader> shape_metadata(const ModelShape& shape, const ModelConfig& config, const ShapeMaking& making) {
  const auto archs = all_gguf_archs();
  const auto arch = std::find_if(archs.begin(), archs.end(), [&](const GgufArch& a) { return a.arch == shape.arch; });
  if (arch == archs.end()) {
    return unimplemented(std::string("models of the shape ") + shape.name + " are not read from files", "shape");
  }
  Keys keys;
  add_model(shape, config, *arch, keys);
  add_vocab(shape.vocab, keys);
  keys.text("foregate.shape.name", shape.name);
  keys.text("foregate.shape.quantization", making.quantization);
  keys.precise("foregate.shape.skew", making.routing.skew);
  keys.precise("foregate.shape.affinity", making.routing.affinity);
  keys.wide("foregate.shape.seed", making.routing.seed);
  GgufHeader header;
  header.version = 3;
  header.metadata = keys.take();
  return header;
}

}  // namespace foregate
