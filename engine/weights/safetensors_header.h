// The header of a safetensors file, checked whole against the file's real size before anything is
// allocated for the data: https://github.com/huggingface/safetensors (format section).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "kernels/api/dtype.h"

namespace foregate {

// One tensor: what it is and where its bytes lie. [offset, offset + bytes) lies inside the file, and
// shape product * element bytes == bytes; in a packed model, packed_bytes() == bytes.
struct TensorEntry {
  std::string name;
  std::string dtype_name;      // as written in the file, e.g. "BF16"
  std::optional<DType> dtype;  // none for types that the engine does not compute with
  std::vector<std::int64_t> shape;
  std::uint32_t shard = 0;
  std::uint64_t offset = 0;  // bytes from the start of the file
  std::uint64_t bytes = 0;
  std::int32_t unit = -1;  // of a packed model: the unit it lies in; else -1
};

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes, the format's own cap

// Reads and checks the header: length, JSON, every dtype, shape and range; the ranges must cover
// the data part exactly, without holes or overlap. kDataLoss names the file and the tensor.
Result<std::vector<TensorEntry>> read_safetensors_header(const File& file);

}  // namespace foregate
