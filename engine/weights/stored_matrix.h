// Matrices of quantized checkpoints: several tensors that together mean one matrix, and the block type whose rows
// hold it. Found from names, types and shapes alone; nothing is read. Immutable, any thread.
// Layouts: github.com/casper-hansen/AutoAWQ (awq, "gemm"), github.com/AutoGPTQ/AutoGPTQ (gptq v1 and v2) and
// github.com/vllm-project/compressed-tensors (pack-quantized, float-quantized); the FP8 checkpoints of
// huggingface.co/deepseek-ai (fp8, scales by tiles).
//
// Matrices of 8-bit floats (E4M3) become fp8, a scale and 128 of its bytes: exactly w = scale * value. The scale of a
// tile, a row or a matrix is repeated. NaN, and scales that are not finite or not below 2^120, are refused.
//
// Which type, and why. w = scale * (code - zero) with codes and zeros of four bits:
//   symmetric (zero = 8): q4_0, whose w = d * (code - 8) is the same sum.
//   asymmetric: q5_0, w = d * (code5 - 16) with code5 = code - zero + 16, which lies in 0 .. 31. q4_1 would be a
//     tenth smaller, but its minimum m = -scale * zero needs up to 15 bits of significand and an f16 has 11, so every
//     weight of a group would be off by up to scale * zero / 2048.
// The scale of a group is repeated in each of its blocks of 32 columns. f16 scales are held exactly, and so are bf16
// ones down to 2^-17. Others are rounded to f16, which changes a weight by at most 2^-11 of it (2^-25 * |code - zero|
// below 2^-14); the loader says so when it happened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/base/status.h"
#include "engine/weights/tensor_index.h"
#include "kernels/api/dtype.h"

namespace foregate {

enum class Storage : std::uint8_t { kAwq, kGptq, kPackQuantized, kFp8Tiles, kFloatQuantized };

// What holds for all quantized matrices of a checkpoint, from its quantization_config.
struct StorageRule {
  Storage storage = Storage::kAwq;
  std::int64_t group_cols = 0;   // columns that share a scale, a multiple of 32 (8-bit floats: 128); 0: a whole row
  std::int64_t group_rows = 1;   // 8-bit floats: rows that share a scale; 0: all
  bool symmetric = false;        // all zero points are 8
  std::uint8_t zero_offset = 0;  // gptq: what is to be added to the zero points in the file, 1 in version 1
  bool ordered = false;          // gptq: the groups of columns must be written out
};

struct StoredMatrix {
  StorageRule rule;
  DType type = DType::kQ4_0;  // of the rows that hold the matrix
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const TensorEntry* codes = nullptr;
  const TensorEntry* scales = nullptr;
  const TensorEntry* zeros = nullptr;  // null in symmetric ones of pack-quantized
  const TensorEntry* order = nullptr;  // gptq: the group of each column, where it is written out
  const TensorEntry* shape = nullptr;  // pack-quantized: [rows, cols] written out

  std::int64_t group_cols() const { return rule.group_cols > 0 ? rule.group_cols : cols; }
  std::int64_t groups() const { return (cols + group_cols() - 1) / group_cols(); }
  bool is_float() const { return type == DType::kFp8; }
  std::int64_t row_groups() const { return rule.group_rows > 0 ? (rows + rule.group_rows - 1) / rule.group_rows : 1; }
  std::uint64_t file_bytes() const;  // of all its tensors
};

// "awq g128", "pack-quantized by row": for display.
std::string storage_text(const StorageRule& rule);

// The matrix `stem` (a module's name, "model.layers.0.mlp.experts.3.up_proj") of rows x cols, or nothing when the
// index has none of its quantized tensors: then it is a plain one. kDataLoss for a missing tensor of several, a wrong
// shape or type, kUnimplemented for a size that no block type holds; both name the tensor.
Result<std::optional<StoredMatrix>> find_stored_matrix(const TensorIndex& index, const StorageRule& rule,
                                                       const std::string& stem, std::int64_t rows, std::int64_t cols);

}  // namespace foregate
