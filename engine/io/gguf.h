// The GGUF container, versions 2 and 3, little-endian: metadata and tensor table, checked whole against the file's
// real size before anything is allocated for them. Format: github.com/ggml-org/ggml, docs/gguf.md.
// Plain data, immutable after the read; safe to share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "kernels/api/dtype.h"

namespace foregate {

enum class GgufType : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kText, kArray, kU64, kI64, kF64 };

// "u32", "string", ...
const char* gguf_type_name(GgufType type);

// One value of the metadata, or an array of them (never of arrays).
struct GgufValue {
  GgufType type = GgufType::kU8;  // of the value or of each element; not kArray
  bool is_array = false;
  std::uint64_t count = 1;         // elements; 1 for a single value
  std::vector<std::byte> raw;      // the bytes of the file, unless they are strings
  std::vector<std::string> texts;  // count strings when type is kText

  // Element `at`. Empty beyond count and where it is not of that kind; an unsigned value beyond 2^63 - 1 is none.
  std::optional<std::int64_t> integer(std::uint64_t at = 0) const;
  std::optional<double> number(std::uint64_t at = 0) const;  // floating-point and whole numbers
  std::optional<bool> boolean(std::uint64_t at = 0) const;
  std::string description() const;  // "u32", "array of 5 string"
};

struct GgufEntry {
  std::string key;
  GgufValue value;
};

// rows of blocks: shape product / block elements * block bytes == bytes; [offset, offset + bytes) lies inside the file.
struct GgufTensor {
  std::string name;
  const char* type_name = "";       // as ggml spells it, e.g. "Q4_K"
  std::optional<DType> dtype;       // none for types that the engine does not compute with
  std::vector<std::int64_t> shape;  // outermost first: the reverse of the file's order
  std::uint64_t offset = 0;         // bytes from the start of the file
  std::uint64_t bytes = 0;
};

struct GgufHeader {
  std::uint32_t version = 0;
  std::uint32_t alignment = 32;
  std::vector<GgufEntry> metadata;  // by key
  std::vector<GgufTensor> tensors;  // by offset

  const GgufValue* find(std::string_view key) const;  // null when absent
};

inline constexpr std::uint64_t kMaxGgufHeader = 256u << 20;  // bytes of metadata and tensor table together
inline constexpr std::size_t kMaxGgufName = 1024;            // bytes of a key or of a tensor's name

// Reads and checks the header. kDataLoss names the file and the key or tensor; kUnimplemented a version or byte order
// that is not read.
Result<GgufHeader> read_gguf_header(const File& file);

}  // namespace foregate
