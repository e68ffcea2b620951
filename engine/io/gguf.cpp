#include "engine/io/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/base/log.h"
#include "engine/io/gguf_cursor.h"
#include "engine/io/gguf_types.h"

namespace foregate {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF", its first letter in the lowest byte
constexpr std::uint32_t kMaxAlignment = 1u << 20;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr std::uint64_t kSmallestEntry = 8 + 1 + 4 + 1;           // key of one letter, type, one byte
constexpr std::uint64_t kSmallestTensor = 8 + 1 + 4 + 0 + 4 + 8;  // name of one letter, no dimension, type, offset

static_assert(std::endian::native == std::endian::little, "GGUF integers are read as they lie");

struct TypeInfo {
  const char* name;
  int bytes;  // 0: a string
};

constexpr TypeInfo kTypeInfos[] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2},    {"u32", 4},
                                   {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 0}, {"array", 0},
                                   {"u64", 8}, {"i64", 8}, {"f64", 8}};

const TypeInfo& info(GgufType type) {
  return kTypeInfos[static_cast<std::uint32_t>(type)];
}

// The bytes of element `at` as a T.
template <class T>
T element(const GgufValue& value, std::uint64_t at) {
  T out{};
  std::memcpy(&out, value.raw.data() + at * sizeof(T), sizeof(T));
  return out;
}

// Fails with the file and the key or tensor.
Status bad(const File& file, const char* kind, const std::string& name, const std::string& what) {
  return data_loss(file.path() + ": " + kind + " " + quoted(name, 120) + ": " + what, name.substr(0, 120));
}

class HeaderReader {
 public:
  explicit HeaderReader(const File& file) : file_(file), cursor_(file, kMaxGgufHeader) {}
  Result<GgufHeader> read();

 private:
  Status read_version();
  Status check_count(const char* what, std::uint64_t count, std::uint64_t smallest) const;
  Status read_entry();
  Result<GgufType> read_type(const std::string& key);
  Status read_value(const std::string& key, GgufValue& value);
  Status read_texts(const std::string& key, GgufValue& value);
  Status read_tensor();
  Status read_shape(GgufTensor& tensor, std::int64_t& elements);
  Status read_size(GgufTensor& tensor, std::int64_t elements);
  Status check_metadata();
  Status place_tensors();
  Status check_names();

  const File& file_;
  GgufCursor cursor_;
  GgufHeader header_;
};

Status HeaderReader::read_version() {
  ASSIGN_OR_RETURN(const auto magic, cursor_.number<std::uint32_t>("the magic number"));
  if (magic != kMagic) return data_loss(file_.path() + " does not start with \"GGUF\"");
  ASSIGN_OR_RETURN(header_.version, cursor_.number<std::uint32_t>("the version"));
  if (header_.version == 2 || header_.version == 3) return {};
  if (header_.version != 0 && (header_.version & 0xFFFF) == 0) {
    return unimplemented(file_.path() + " is a big-endian GGUF file; only little-endian ones are read");
  }
  return unimplemented(file_.path() + " is GGUF version " + std::to_string(header_.version) + "; known: 2, 3");
}

Status HeaderReader::check_count(const char* what, std::uint64_t count, std::uint64_t smallest) const {
  if (count <= cursor_.left() / smallest) return {};
  return data_loss(file_.path() + ": the header announces " + std::to_string(count) + " " + what + ", " +
                   std::to_string(cursor_.left()) + " bytes are left for them");
}

Result<GgufType> HeaderReader::read_type(const std::string& key) {
  ASSIGN_OR_RETURN(const auto number, cursor_.number<std::uint32_t>("a value's type"));
  if (number < std::size(kTypeInfos)) return static_cast<GgufType>(number);
  return bad(file_, "key", key, "value type " + std::to_string(number) + " is not known");
}

Status HeaderReader::read_entry() {
  GgufEntry entry;
  ASSIGN_OR_RETURN(entry.key, cursor_.text("a key", kMaxGgufName));
  if (entry.key.empty()) return data_loss(file_.path() + ": a key is empty");
  ASSIGN_OR_RETURN(entry.value.type, read_type(entry.key));
  if (entry.value.type == GgufType::kArray) {
    entry.value.is_array = true;
    ASSIGN_OR_RETURN(entry.value.type, read_type(entry.key));
    ASSIGN_OR_RETURN(entry.value.count, cursor_.number<std::uint64_t>("an array's length"));
    if (entry.value.type == GgufType::kArray) {
      return Status(Code::kUnimplemented, file_.path() + ": key " + quoted(entry.key, 120) + " is an array of arrays",
                    entry.key.substr(0, 120));
    }
  }
  RETURN_IF_ERROR(read_value(entry.key, entry.value));
  header_.metadata.push_back(std::move(entry));
  return {};
}

Status HeaderReader::read_value(const std::string& key, GgufValue& value) {
  if (value.type == GgufType::kText) return read_texts(key, value);
  const auto size = static_cast<std::uint64_t>(info(value.type).bytes);
  if (value.count > cursor_.left() / size) {
    return bad(file_, "key", key, "its " + value.description() + " runs past the end");
  }
  value.raw.resize(static_cast<std::size_t>(value.count * size));
  RETURN_IF_ERROR(cursor_.bytes("a value", value.raw));
  if (value.type != GgufType::kBool) return {};
  for (const std::byte flag : value.raw) {
    if (flag > std::byte{1}) return bad(file_, "key", key, "a bool is neither 0 nor 1");
  }
  return {};
}

Status HeaderReader::read_texts(const std::string& key, GgufValue& value) {
  if (value.count > cursor_.left() / 8) {
    return bad(file_, "key", key, "its " + value.description() + " runs past the end");
  }
  for (std::uint64_t i = 0; i < value.count; ++i) {
    auto text = cursor_.text("a string", kMaxGgufHeader);
    if (!text.ok()) {
      return Status(text.status().code(), text.status().message() + " (of key " + quoted(key, 120) + ")",
                    key.substr(0, 120));
    }
    value.texts.push_back(std::move(text).value());
  }
  return {};
}

Status HeaderReader::read_shape(GgufTensor& tensor, std::int64_t& elements) {
  ASSIGN_OR_RETURN(const auto dimensions, cursor_.number<std::uint32_t>("a tensor's dimensions"));
  if (dimensions > kMaxDimensions) {
    return bad(file_, "tensor", tensor.name, "has " + std::to_string(dimensions) + " dimensions, more than 4");
  }
  elements = 1;
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    ASSIGN_OR_RETURN(const auto size, cursor_.number<std::uint64_t>("a tensor's dimension"));
    if (size > INT64_MAX || __builtin_mul_overflow(elements, static_cast<std::int64_t>(size), &elements)) {
      return bad(file_, "tensor", tensor.name, "shape's product overflows");
    }
    tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(size));
  }
  return {};
}

// The type, and with it the bytes of the data.
Status HeaderReader::read_size(GgufTensor& tensor, std::int64_t elements) {
  ASSIGN_OR_RETURN(const auto number, cursor_.number<std::uint32_t>("a tensor's type"));
  const GgufTensorType* type = find_gguf_tensor_type(number);
  if (type == nullptr) return bad(file_, "tensor", tensor.name, "type " + std::to_string(number) + " is not known");
  tensor.type_name = type->name;
  tensor.dtype = type->dtype;
  const std::int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % type->block_elements != 0) {
    return bad(file_, "tensor", tensor.name,
               "a row of " + std::to_string(row) + " elements is not whole blocks of " +
                   std::to_string(type->block_elements) + " (" + type->name + ")");
  }
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(elements / type->block_elements, std::int64_t{type->block_bytes}, &bytes)) {
    return bad(file_, "tensor", tensor.name, "its size in bytes overflows");
  }
  tensor.bytes = static_cast<std::uint64_t>(bytes);
  return {};
}

Status HeaderReader::read_tensor() {
  GgufTensor tensor;
  ASSIGN_OR_RETURN(tensor.name, cursor_.text("a tensor's name", kMaxGgufName));
  if (tensor.name.empty()) return data_loss(file_.path() + ": a tensor's name is empty");
  std::int64_t elements = 0;
  RETURN_IF_ERROR(read_shape(tensor, elements));
  RETURN_IF_ERROR(read_size(tensor, elements));
  ASSIGN_OR_RETURN(tensor.offset, cursor_.number<std::uint64_t>("a tensor's offset"));
  header_.tensors.push_back(std::move(tensor));
  return {};
}

// Keys in order and each once; the alignment.
Status HeaderReader::check_metadata() {
  auto& metadata = header_.metadata;
  std::sort(metadata.begin(), metadata.end(), [](const GgufEntry& a, const GgufEntry& b) { return a.key < b.key; });
  for (std::size_t i = 1; i < metadata.size(); ++i) {
    if (metadata[i].key == metadata[i - 1].key) return bad(file_, "key", metadata[i].key, "is given twice");
  }
  const GgufValue* alignment = header_.find("general.alignment");
  if (alignment == nullptr) return {};
  const auto value = alignment->is_array ? std::nullopt : alignment->integer();
  if (!value || *value < 8 || *value > kMaxAlignment || (*value & (*value - 1)) != 0) {
    return bad(file_, "key", "general.alignment",
               "is not a power of two between 8 and " + std::to_string(kMaxAlignment));
  }
  header_.alignment = static_cast<std::uint32_t>(*value);
  return {};
}

// From offsets inside the data part to ranges of the file. Sorted, the tensors must follow one another from the first
// data byte to the end, with less than one alignment of padding after each.
Status HeaderReader::place_tensors() {
  const std::uint64_t alignment = header_.alignment;
  const std::uint64_t begin = std::min((cursor_.position() + alignment - 1) / alignment * alignment, file_.size());
  const std::uint64_t data = file_.size() - begin;
  std::sort(header_.tensors.begin(), header_.tensors.end(), [](const GgufTensor& a, const GgufTensor& b) {
    return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
  });
  std::uint64_t expected = 0;
  for (GgufTensor& tensor : header_.tensors) {
    if (tensor.offset % alignment != 0) {
      return bad(file_, "tensor", tensor.name, "offset " + std::to_string(tensor.offset) + " is not aligned");
    }
    if (tensor.offset > data || tensor.bytes > data - tensor.offset) {
      return bad(file_, "tensor", tensor.name,
                 "its " + std::to_string(tensor.bytes) + " bytes at offset " + std::to_string(tensor.offset) +
                     " do not lie inside the file's " + std::to_string(data) + " bytes of data");
    }
    if (tensor.offset < expected) return bad(file_, "tensor", tensor.name, "its data overlaps another tensor's");
    if (tensor.offset - expected >= alignment) {
      return bad(file_, "tensor", tensor.name,
                 "a hole of " + std::to_string(tensor.offset - expected) + " bytes lies before its data");
    }
    expected = tensor.offset + tensor.bytes;
    tensor.offset += begin;
  }
  if (data - expected < alignment) return {};
  return data_loss(file_.path() + ": " + std::to_string(data - expected) + " bytes at its end belong to no tensor");
}

Status HeaderReader::check_names() {
  std::vector<const std::string*> names;
  for (const GgufTensor& tensor : header_.tensors) names.push_back(&tensor.name);
  std::sort(names.begin(), names.end(), [](const std::string* a, const std::string* b) { return *a < *b; });
  for (std::size_t i = 1; i < names.size(); ++i) {
    if (*names[i] == *names[i - 1]) return bad(file_, "tensor", *names[i], "is given twice");
  }
  return {};
}

Result<GgufHeader> HeaderReader::read() {
  RETURN_IF_ERROR(read_version());
  ASSIGN_OR_RETURN(const auto tensors, cursor_.number<std::uint64_t>("the number of tensors"));
  ASSIGN_OR_RETURN(const auto entries, cursor_.number<std::uint64_t>("the number of keys"));
  RETURN_IF_ERROR(check_count("keys", entries, kSmallestEntry));
  RETURN_IF_ERROR(check_count("tensors", tensors, kSmallestTensor));
  for (std::uint64_t i = 0; i < entries; ++i) RETURN_IF_ERROR(read_entry());
  RETURN_IF_ERROR(check_metadata());
  RETURN_IF_ERROR(check_count("tensors", tensors, kSmallestTensor));
  for (std::uint64_t i = 0; i < tensors; ++i) RETURN_IF_ERROR(read_tensor());
  RETURN_IF_ERROR(check_names());
  RETURN_IF_ERROR(place_tensors());
  return std::move(header_);
}

}  // namespace

const char* gguf_type_name(GgufType type) {
  return info(type).name;
}

std::optional<std::int64_t> GgufValue::integer(std::uint64_t at) const {
  if (at >= count) return std::nullopt;
  switch (type) {
    case GgufType::kU8: return element<std::uint8_t>(*this, at);
    case GgufType::kI8: return element<std::int8_t>(*this, at);
    case GgufType::kU16: return element<std::uint16_t>(*this, at);
    case GgufType::kI16: return element<std::int16_t>(*this, at);
    case GgufType::kU32: return element<std::uint32_t>(*this, at);
    case GgufType::kI32: return element<std::int32_t>(*this, at);
    case GgufType::kI64: return element<std::int64_t>(*this, at);
    case GgufType::kU64: {
      const auto value = element<std::uint64_t>(*this, at);
      if (value > INT64_MAX) return std::nullopt;
      return static_cast<std::int64_t>(value);
    }
    default: return std::nullopt;
  }
}

std::optional<double> GgufValue::number(std::uint64_t at) const {
  if (at >= count) return std::nullopt;
  if (type == GgufType::kF32) return element<float>(*this, at);
  if (type == GgufType::kF64) return element<double>(*this, at);
  const auto whole = integer(at);
  if (!whole) return std::nullopt;
  return static_cast<double>(*whole);
}

std::optional<bool> GgufValue::boolean(std::uint64_t at) const {
  if (type != GgufType::kBool || at >= count) return std::nullopt;
  return element<std::uint8_t>(*this, at) != 0;
}

std::string GgufValue::description() const {
  if (!is_array) return info(type).name;
  return "array of " + std::to_string(count) + " " + info(type).name;
}

const GgufValue* GgufHeader::find(std::string_view key) const {
  const auto at = std::lower_bound(metadata.begin(), metadata.end(), key,
                                   [](const GgufEntry& entry, std::string_view wanted) { return entry.key < wanted; });
  return at != metadata.end() && at->key == key ? &at->value : nullptr;
}

Result<GgufHeader> read_gguf_header(const File& file) {
  return HeaderReader(file).read();
}

}  // namespace foregate
