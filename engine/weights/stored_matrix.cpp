#include "engine/weights/stored_matrix.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "kernels/api/quant.h"

namespace foregate {
namespace {

constexpr std::int64_t kCodesPerWord = 8;

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

std::int64_t words(std::int64_t codes) {
  return (codes + kCodesPerWord - 1) / kCodesPerWord;
}

// Looks up the tensors of one matrix; keeps the first fault.
class Finder {
 public:
  Finder(const TensorIndex& index, const std::string& stem) : index_(index), stem_(stem) {}

  bool has(const char* suffix) const { return index_.find(stem_ + suffix) != nullptr; }
  bool has_floats(const char* suffix) const {
    const TensorEntry* entry = index_.find(stem_ + suffix);
    return entry != nullptr && entry->dtype == DType::kF8E4M3;
  }

  // The tensor stem + suffix, of one of the shapes and types.
  const TensorEntry* tensor(const char* suffix, const std::vector<std::int64_t>& shape,
                            std::initializer_list<DType> types) {
    const std::string name = stem_ + suffix;
    const TensorEntry* entry = index_.find(name);
    if (entry == nullptr) {
      fail(data_loss("tensor \"" + name + "\" is missing from the weights", name));
    } else if (entry->shape != shape) {
      fail(data_loss(index_.path_of(*entry) + ": tensor \"" + name + "\" has shape " + shape_text(entry->shape) +
                         ", the config implies " + shape_text(shape),
                     name));
    } else if (!entry->dtype || std::find(types.begin(), types.end(), *entry->dtype) == types.end()) {
      std::string known;
      for (const DType type : types) known += std::string(" ") + dtype_name(type);
      fail(unimplemented(
          index_.path_of(*entry) + ": tensor \"" + name + "\" has type " + entry->dtype_name + "; known here:" + known,
          name));
    }
    return status_.ok() ? entry : nullptr;
  }

  void fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const Status& status() const { return status_; }
  const std::string& stem() const { return stem_; }

 private:
  const TensorIndex& index_;
  const std::string& stem_;
  Status status_;
};

// Codes fill whole words and blocks.
void check_int4_size(Finder& find, const StoredMatrix& matrix, const char* codes, bool whole_row_words) {
  std::string fault;
  if (matrix.cols % kQuantGroup != 0) {
    fault = "rows of " + std::to_string(matrix.cols) + " columns, which is not a multiple of " +
            std::to_string(kQuantGroup);
  } else if (whole_row_words && matrix.rows % kCodesPerWord != 0) {
    fault = std::to_string(matrix.rows) + " rows, which is not a multiple of " + std::to_string(kCodesPerWord);
  }
  if (fault.empty()) return;
  const std::string name = find.stem() + codes;
  find.fail(unimplemented("tensor \"" + name + "\" stands for " + fault, name));
}

void find_awq(Finder& find, StoredMatrix& matrix) {
  check_int4_size(find, matrix, ".qweight", true);
  matrix.codes = find.tensor(".qweight", {matrix.cols, words(matrix.rows)}, {DType::kI32});
  matrix.scales = find.tensor(".scales", {matrix.groups(), matrix.rows}, {DType::kF16, DType::kBF16, DType::kF32});
  matrix.zeros = find.tensor(".qzeros", {matrix.groups(), words(matrix.rows)}, {DType::kI32});
}

void find_gptq(Finder& find, StoredMatrix& matrix) {
  check_int4_size(find, matrix, ".qweight", true);
  matrix.codes = find.tensor(".qweight", {words(matrix.cols), matrix.rows}, {DType::kI32});
  matrix.scales = find.tensor(".scales", {matrix.groups(), matrix.rows}, {DType::kF16, DType::kBF16, DType::kF32});
  matrix.zeros = find.tensor(".qzeros", {matrix.groups(), words(matrix.rows)}, {DType::kI32});
  if (matrix.rule.ordered || find.has(".g_idx")) matrix.order = find.tensor(".g_idx", {matrix.cols}, {DType::kI32});
}

void find_pack_quantized(Finder& find, StoredMatrix& matrix) {
  check_int4_size(find, matrix, ".weight_packed", false);
  matrix.codes = find.tensor(".weight_packed", {matrix.rows, words(matrix.cols)}, {DType::kI32});
  matrix.scales =
      find.tensor(".weight_scale", {matrix.rows, matrix.groups()}, {DType::kF16, DType::kBF16, DType::kF32});
  matrix.shape = find.tensor(".weight_shape", {2}, {DType::kI64, DType::kI32});
  if (!matrix.rule.symmetric) {
    matrix.zeros = find.tensor(".weight_zero_point", {words(matrix.rows), matrix.groups()}, {DType::kI32});
  }
  if (!find.has(".weight_g_idx")) return;
  const std::string name = find.stem() + ".weight_g_idx";
  find.fail(unimplemented("tensor \"" + name + "\": columns in activation order are not supported", name));
}

bool is_float(Storage storage) {
  return storage == Storage::kFp8Tiles || storage == Storage::kFloatQuantized;
}

void find_floats(Finder& find, StoredMatrix& matrix) {
  if (matrix.cols % dtype_block(DType::kFp8).elements != 0) {
    const std::string name = find.stem() + ".weight";
    find.fail(unimplemented("tensor \"" + name + "\" has rows of " + std::to_string(matrix.cols) +
                                " columns, which is not a multiple of " +
                                std::to_string(dtype_block(DType::kFp8).elements),
                            name));
  }
  const bool tiles = matrix.rule.storage == Storage::kFp8Tiles;
  const bool one = matrix.rule.group_rows == 0;
  matrix.codes = find.tensor(".weight", {matrix.rows, matrix.cols}, {DType::kF8E4M3});
  matrix.scales = find.tensor(tiles ? ".weight_scale_inv" : ".weight_scale",
                              one ? std::vector<std::int64_t>{1} : std::vector{matrix.row_groups(), matrix.groups()},
                              {DType::kF32, DType::kBF16, DType::kF16});
}

const char* storage_name(Storage storage) {
  switch (storage) {
    case Storage::kAwq: return "awq";
    case Storage::kGptq: return "gptq";
    case Storage::kPackQuantized: return "pack-quantized";
    case Storage::kFp8Tiles: return "fp8";
    case Storage::kFloatQuantized: return "float-quantized";
  }
  return "?";
}

std::vector<const char*> suffixes(Storage storage) {
  switch (storage) {
    case Storage::kAwq:
    case Storage::kGptq: return {".qweight", ".scales", ".qzeros"};
    case Storage::kPackQuantized: return {".weight_packed", ".weight_scale", ".weight_zero_point"};
    case Storage::kFp8Tiles: return {".weight_scale_inv"};
    case Storage::kFloatQuantized: return {".weight_scale"};
  }
  return {};
}

}  // namespace

std::uint64_t StoredMatrix::file_bytes() const {
  std::uint64_t bytes = 0;
  for (const TensorEntry* entry : {codes, scales, zeros, order, shape}) bytes += entry != nullptr ? entry->bytes : 0;
  return bytes;
}

std::string storage_text(const StorageRule& rule) {
  if (rule.group_rows == 0) return std::string(storage_name(rule.storage)) + " by matrix";
  if (rule.group_rows > 1) {
    return std::string(storage_name(rule.storage)) + " " + std::to_string(rule.group_rows) + "x" +
           std::to_string(rule.group_cols);
  }
  return std::string(storage_name(rule.storage)) +
         (rule.group_cols > 0 ? " g" + std::to_string(rule.group_cols) : " by row");
}

Result<std::optional<StoredMatrix>> find_stored_matrix(const TensorIndex& index, const StorageRule& rule,
                                                       const std::string& stem, std::int64_t rows, std::int64_t cols) {
  Finder find(index, stem);
  const auto names = suffixes(rule.storage);
  const bool floats = is_float(rule.storage) && find.has_floats(".weight");
  if (!floats && std::none_of(names.begin(), names.end(), [&](const char* suffix) { return find.has(suffix); })) {
    return std::optional<StoredMatrix>();
  }
  StoredMatrix matrix;
  matrix.rule = rule;
  matrix.rows = rows;
  matrix.cols = cols;
  matrix.type = is_float(rule.storage) ? DType::kFp8 : rule.symmetric ? DType::kQ4_0 : DType::kQ5_0;
  switch (rule.storage) {
    case Storage::kAwq: find_awq(find, matrix); break;
    case Storage::kGptq: find_gptq(find, matrix); break;
    case Storage::kPackQuantized: find_pack_quantized(find, matrix); break;
    case Storage::kFp8Tiles:
    case Storage::kFloatQuantized: find_floats(find, matrix); break;
  }
  if (!find.status().ok()) return find.status();
  return std::optional<StoredMatrix>(matrix);
}

}  // namespace foregate
