#include "engine/model/quantization_config.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "engine/model/config_reader.h"
#include "engine/weights/checked_json.h"
#include "kernels/api/quant.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr const char* kKey = "quantization_config.";
constexpr std::int64_t kMaxGroup = 1 << 20;
constexpr std::size_t kMaxModules = 1 << 16;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

void expect_word(ConfigReader& config, const char* key, const std::string& word, const char* fallback) {
  const std::string found = lower(config.text_or(key, fallback));
  if (found != word) config.refuse(key, "\"" + printable(found) + "\" is not supported; known: " + word);
}

void expect_bits(ConfigReader& config, const char* key, std::int64_t bits) {
  const std::int64_t found = config.integer(key, 1, 64);
  if (found != bits) config.refuse(key, std::to_string(found) + " is not supported; known: " + std::to_string(bits));
}

// -1 is a whole row.
std::int64_t read_group(ConfigReader& config) {
  const std::int64_t group = config.integer("group_size", -1, kMaxGroup);
  if (group == -1) return 0;
  if (group <= 0) {
    config.reject("group_size", "is " + std::to_string(group));
  } else if (group % kQuantGroup != 0) {
    config.refuse("group_size",
                  std::to_string(group) + " is not supported; known: multiples of " + std::to_string(kQuantGroup));
  }
  return group;
}

void skip_modules(ConfigReader& config, const char* key, const std::vector<std::string>& entries,
                  QuantizationConfig& out) {
  auto patterns = ModulePatterns::compile(entries, config.file() + ": " + kKey + key);
  config.merge(patterns.status());
  if (patterns.ok()) out.skipped = std::move(patterns).value();
}

void read_awq(ConfigReader& config, QuantizationConfig& out) {
  expect_bits(config, "bits", 4);
  expect_word(config, "version", "gemm", "gemm");
  if (!config.boolean_or("zero_point", true)) config.refuse("zero_point", "false is not supported");
  out.rule = StorageRule{.storage = Storage::kAwq, .group_cols = read_group(config)};
  skip_modules(config, "modules_to_not_convert", config.texts("modules_to_not_convert", kMaxModules), out);
}

// Entries "-:EXPRESSION" of `dynamic` leave modules alone; others change their bits.
void skip_dynamic(ConfigReader& config, QuantizationConfig& out) {
  const Json* dynamic = config.object("dynamic");
  if (dynamic == nullptr) return;
  std::vector<std::string> entries;
  for (const auto& [key, value] : dynamic->items()) {
    if (!key.starts_with("-:")) {
      config.refuse("dynamic", "\"" + printable(key) + "\" is not supported; known: -:expression");
      return;
    }
    entries.push_back("re:" + key.substr(2));
  }
  skip_modules(config, "dynamic", entries, out);
}

void read_gptq(ConfigReader& config, QuantizationConfig& out) {
  expect_bits(config, "bits", 4);
  expect_word(config, "pack_dtype", "int32", "int32");
  StorageRule rule{.storage = Storage::kGptq, .group_cols = read_group(config)};
  rule.symmetric = config.boolean_or("sym", true);
  rule.ordered = config.boolean_or("desc_act", false);
  const char* key = config.has("checkpoint_format") ? "checkpoint_format" : "format";
  const std::string format = config.text_or(key, "gptq");
  if (format != "gptq" && format != "gptq_v2") {
    config.refuse(key, "\"" + printable(format) + "\" is not supported; known: gptq, gptq_v2");
  }
  rule.zero_offset = format == "gptq" ? 1 : 0;
  out.rule = rule;
  skip_dynamic(config, out);
}

// The weights object of the one config group.
void read_packed_weights(const Json& object, ConfigReader& weights, QuantizationConfig& out) {
  StorageRule rule{.storage = Storage::kPackQuantized};
  expect_word(weights, "type", "int", "int");
  expect_bits(weights, "num_bits", 4);
  rule.symmetric = weights.boolean_or("symmetric", true);
  const std::string strategy = weights.text_or("strategy", "group");
  if (strategy == "group") {
    rule.group_cols = read_group(weights);
  } else if (strategy != "channel") {
    weights.refuse("strategy", "\"" + printable(strategy) + "\" is not supported; known: group, channel");
  }
  // Ordering the columns while calibrating ("weight", "static") leaves nothing behind in the file.
  if (object.value("actorder", Json()) != Json(false)) {
    const std::string order = weights.text_or("actorder", "weight");
    if (order != "weight" && order != "static") {
      weights.refuse("actorder", "\"" + printable(order) + "\" is not supported");
    }
  }
  out.rule = rule;
}

// [rows, cols] that share a scale. False: neither is there, nor is it a fault.
bool read_tile(ConfigReader& config, const char* key, StorageRule& rule) {
  if (!config.has(key)) return false;
  constexpr std::int64_t kCols = dtype_block(DType::kFp8).elements;
  const auto tile = config.integers(key, 1, kMaxGroup, 2);
  if (tile.size() == 2 && tile[1] % kCols == 0) {
    rule.group_rows = tile[0];
    rule.group_cols = tile[1];
  } else {
    config.refuse(key, "is not supported; known: [rows, columns] with columns a multiple of " + std::to_string(kCols));
  }
  return true;
}

// 8-bit floats: the weights object of the one config group.
void read_float_weights(ConfigReader& weights, QuantizationConfig& out) {
  StorageRule rule{.storage = Storage::kFloatQuantized};
  expect_word(weights, "type", "float", "float");
  expect_bits(weights, "num_bits", 8);
  if (!weights.boolean_or("symmetric", true)) weights.refuse("symmetric", "false is not supported");
  const std::string strategy = weights.text_or("strategy", "tensor");
  if (strategy == "tensor") {
    rule.group_rows = 0;
  } else if (strategy == "block") {
    if (!read_tile(weights, "block_structure", rule)) weights.refuse("block_structure", "is missing");
  } else if (strategy != "channel") {
    weights.refuse("strategy", "\"" + printable(strategy) + "\" is not supported; known: block, channel, tensor");
  }
  out.rule = rule;
}

// 8-bit floats with one scale a tile, or a matrix. Activations are not rounded, whatever activation_scheme says.
void read_fp8(ConfigReader& config, QuantizationConfig& out) {
  expect_word(config, "fmt", "e4m3", "e4m3");
  StorageRule rule{.storage = Storage::kFp8Tiles};
  if (!read_tile(config, "weight_block_size", rule)) rule = {.storage = Storage::kFloatQuantized, .group_rows = 0};
  out.rule = rule;
  const char* skipped = config.has("ignored_layers") ? "ignored_layers" : "modules_to_not_convert";
  skip_modules(config, skipped, config.texts(skipped, kMaxModules), out);
}

// The one entry of config_groups: kKey + "config_groups.NAME.".
void read_group_object(ConfigReader& config, QuantizationConfig& out) {
  const Json* groups = config.object("config_groups");
  if (groups == nullptr || groups->size() != 1) {
    config.refuse("config_groups",
                  groups == nullptr ? "is missing" : "holds " + std::to_string(groups->size()) + " groups, not one");
    return;
  }
  const auto entry = groups->begin();
  const std::string prefix = std::string(kKey) + "config_groups." + printable(entry.key()) + ".";
  ConfigReader group(*entry, config.file(), prefix);
  const std::string format = group.text_or("format", config.text_or("format", ""));
  if (format != "pack-quantized" && format != "float-quantized") {
    config.refuse("format", "\"" + printable(format) + "\" is not supported; known: float-quantized, pack-quantized");
  }
  const Json* weights = group.object("weights");
  if (weights == nullptr) {
    group.reject("weights", "is missing");
  } else {
    ConfigReader reader(*weights, config.file(), prefix + "weights.");
    format == "float-quantized" ? read_float_weights(reader, out) : read_packed_weights(*weights, reader, out);
    group.merge(reader.status());
  }
  config.merge(group.status());
}

// Activations are computed as kernels/api/quant.h says, whatever input_activations asks of other programs.
void read_compressed_tensors(ConfigReader& config, QuantizationConfig& out) {
  read_group_object(config, out);
  skip_modules(config, "ignore", config.texts("ignore", kMaxModules), out);
  const Json* sparsity = config.object("sparsity_config");
  if (sparsity != nullptr && !sparsity->empty() && sparsity->value("format", Json("dense")) != "dense") {
    config.refuse("sparsity_config", "is not supported");
  }
  const Json* transform = config.object("transform_config");
  if (transform != nullptr && !transform->empty()) config.refuse("transform_config", "is not supported");
}

}  // namespace

Result<QuantizationConfig> read_quantization_config(const Json& root, const std::string& file) {
  QuantizationConfig out;
  ConfigReader outer(root, file);
  const Json* object = outer.object("quantization_config");
  if (object == nullptr) {
    if (!outer.status().ok()) return outer.status();
    return out;
  }
  ConfigReader config(*object, file, kKey);
  const std::string method = config.text_or("quant_method", "");
  if (method == "awq") {
    read_awq(config, out);
  } else if (method == "gptq") {
    read_gptq(config, out);
  } else if (method == "compressed-tensors") {
    read_compressed_tensors(config, out);
  } else if (method == "fp8") {
    read_fp8(config, out);
  } else {
    config.refuse("quant_method",
                  "\"" + printable(method) + "\" is not supported; known: awq, compressed-tensors, fp8, gptq");
  }
  if (!config.status().ok()) return config.status();
  return out;
}

}  // namespace foregate
