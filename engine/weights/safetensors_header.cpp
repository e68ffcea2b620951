#include "engine/weights/safetensors_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>

#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::size_t kMaxDimensions = 8;

static_assert(std::endian::native == std::endian::little, "safetensors integers are little-endian");

struct KnownType {
  const char* name;
  int bytes;
  std::optional<DType> dtype;
};

const KnownType kTypes[] = {
    {"F32", 4, DType::kF32},      {"F16", 2, DType::kF16},        {"BF16", 2, DType::kBF16},
    {"I64", 8, DType::kI64},      {"I32", 4, DType::kI32},        {"U8", 1, DType::kU8},
    {"F64", 8, std::nullopt},     {"U64", 8, std::nullopt},       {"U32", 4, std::nullopt},
    {"I16", 2, std::nullopt},     {"U16", 2, std::nullopt},       {"I8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},    {"F8_E4M3", 1, DType::kF8E4M3}, {"F8_E5M2", 1, std::nullopt},
    {"F8_E8M0", 1, std::nullopt},
};

const KnownType* find_type(const std::string& name) {
  for (const KnownType& type : kTypes) {
    if (name == type.name) return &type;
  }
  return nullptr;
}

// Fails with the file, the tensor and what is wrong with it.
Status bad_tensor(const File& file, const std::string& name, const std::string& what) {
  return data_loss(file.path() + ": tensor \"" + printable(name) + "\": " + what, printable(name));
}

Status check_fields(const File& file, const std::string& name, const Json& value) {
  if (!value.is_object()) return bad_tensor(file, name, "its description is not an object");
  for (const char* field : {"dtype", "shape", "data_offsets"}) {
    if (!value.contains(field)) return bad_tensor(file, name, std::string(field) + " is missing");
  }
  if (value.size() != 3) return bad_tensor(file, name, "it has fields other than dtype, shape and data_offsets");
  if (!value["dtype"].is_string()) return bad_tensor(file, name, "dtype is not a string");
  if (!value["shape"].is_array()) return bad_tensor(file, name, "shape is not an array");
  const Json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return bad_tensor(file, name, "data_offsets is not a pair of non-negative integers");
  }
  return {};
}

// Bytes of the tensor from its shape; fails where a product leaves 63 bits.
Status shape_bytes(const File& file, const Json& shape, int element_bytes, TensorEntry& entry, std::int64_t& bytes) {
  if (shape.size() > kMaxDimensions) return bad_tensor(file, entry.name, "shape has more than 8 dimensions");
  bytes = element_bytes;
  for (const Json& dimension : shape) {
    if (!dimension.is_number_unsigned() || dimension.get<std::uint64_t>() > INT64_MAX) {
      return bad_tensor(file, entry.name, "shape holds something that is not a non-negative 63-bit integer");
    }
    entry.shape.push_back(dimension.get<std::int64_t>());
    if (__builtin_mul_overflow(bytes, entry.shape.back(), &bytes)) {
      return bad_tensor(file, entry.name, "shape's product overflows");
    }
  }
  return {};
}

Result<TensorEntry> read_entry(const File& file, const std::string& name, const Json& value, std::uint64_t data_begin) {
  RETURN_IF_ERROR(check_fields(file, name, value));
  TensorEntry entry;
  entry.name = name;
  entry.dtype_name = value["dtype"].get<std::string>();
  const KnownType* type = find_type(entry.dtype_name);
  if (type == nullptr) return bad_tensor(file, name, "unknown dtype \"" + printable(entry.dtype_name) + "\"");
  entry.dtype = type->dtype;

  std::int64_t bytes = 0;
  RETURN_IF_ERROR(shape_bytes(file, value["shape"], type->bytes, entry, bytes));
  const auto begin = value["data_offsets"][0].get<std::uint64_t>();
  const auto end = value["data_offsets"][1].get<std::uint64_t>();
  const std::uint64_t data_bytes = file.size() - data_begin;
  if (begin > end) return bad_tensor(file, name, "data_offsets run backwards");
  if (end > data_bytes) {
    return bad_tensor(file, name,
                      "its data ends at byte " + std::to_string(end) + " but the file holds " +
                          std::to_string(data_bytes) + " bytes of data");
  }
  if (end - begin != static_cast<std::uint64_t>(bytes)) {
    return bad_tensor(file, name,
                      "dtype and shape need " + std::to_string(bytes) + " bytes but data_offsets span " +
                          std::to_string(end - begin));
  }
  entry.offset = data_begin + begin;
  entry.bytes = end - begin;
  return entry;
}

Status check_metadata(const File& file, const Json& metadata) {
  if (!metadata.is_object()) return data_loss(file.path() + ": __metadata__ is not an object", "__metadata__");
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) {
      return data_loss(file.path() + ": __metadata__." + printable(key) + " is not a string", "__metadata__");
    }
  }
  return {};
}

// Sorted by offset, the tensors must follow one another from the first data byte to the last.
Status check_cover(const File& file, std::vector<TensorEntry>& entries, std::uint64_t data_begin) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  std::uint64_t expected = data_begin;
  for (const TensorEntry& entry : entries) {
    if (entry.offset < expected) return bad_tensor(file, entry.name, "its data overlaps another tensor's");
    if (entry.offset > expected) {
      return bad_tensor(file, entry.name,
                        "a hole of " + std::to_string(entry.offset - expected) + " bytes lies before its data");
    }
    expected += entry.bytes;
  }
  if (expected != file.size()) {
    return data_loss(file.path() + ": " + std::to_string(file.size() - expected) +
                     " bytes at its end belong to no tensor");
  }
  return {};
}

Result<std::string> read_header_text(const File& file) {
  std::uint64_t length = 0;
  if (file.size() < kLengthBytes) {
    return data_loss(file.path() + ": " + std::to_string(file.size()) + " bytes are too few for a safetensors file");
  }
  RETURN_IF_ERROR(file.read(0, std::as_writable_bytes(std::span(&length, 1))));
  if (length < 2) return data_loss(file.path() + ": header length " + std::to_string(length) + " is too small");
  if (length > kMaxSafetensorsHeader) {
    return data_loss(file.path() + ": header length " + std::to_string(length) + " is over the cap of " +
                     std::to_string(kMaxSafetensorsHeader));
  }
  if (length > file.size() - kLengthBytes) {
    return data_loss(file.path() + ": header length " + std::to_string(length) + " runs past the file's end at " +
                     std::to_string(file.size()));
  }
  std::string text(length, '\0');
  RETURN_IF_ERROR(file.read(kLengthBytes, std::as_writable_bytes(std::span(text))));
  if (text.front() != '{') return data_loss(file.path() + ": the header does not start with '{'");
  return text;
}

}  // namespace

Result<std::vector<TensorEntry>> read_safetensors_header(const File& file) {
  ASSIGN_OR_RETURN(const std::string text, read_header_text(file));
  Json header;
  RETURN_IF_ERROR(parse_checked_json(text, 4, file.path() + ": header", header));
  const std::uint64_t data_begin = kLengthBytes + text.size();
  std::vector<TensorEntry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      RETURN_IF_ERROR(check_metadata(file, value));
      continue;
    }
    ASSIGN_OR_RETURN(TensorEntry entry, read_entry(file, name, value, data_begin));
    entries.push_back(std::move(entry));
  }
  RETURN_IF_ERROR(check_cover(file, entries, data_begin));
  return entries;
}

}  // namespace foregate
