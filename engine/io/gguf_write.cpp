#include "engine/io/gguf_write.h"

#include <algorithm>
#include <cstring>

namespace foregate {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::uint32_t kF32 = 0;  // ggml's number of the type
constexpr std::string_view kSplitKeys = "split.";

class Text {
 public:
  template <class T>
  void number(T value) {
    bytes(&value, sizeof value);
  }
  void text(const std::string& value) {
    number(static_cast<std::uint64_t>(value.size()));
    bytes(value.data(), value.size());
  }
  void bytes(const void* from, std::size_t size) { out_.append(static_cast<const char*>(from), size); }
  void pad_to_multiple(std::size_t unit) { out_.append((unit - out_.size() % unit) % unit, '\0'); }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

void put_value(const GgufValue& value, Text& out) {
  if (value.is_array) {
    out.number(static_cast<std::uint32_t>(GgufType::kArray));
    out.number(static_cast<std::uint32_t>(value.type));
    out.number(value.count);
  } else {
    out.number(static_cast<std::uint32_t>(value.type));
  }
  for (const std::string& text : value.texts) out.text(text);
  out.bytes(value.raw.data(), value.raw.size());
}

void put_entry(const GgufNumbers& tensor, std::uint64_t offset, Text& out) {
  out.text(tensor.name);
  out.number(std::uint32_t{1});  // dimensions
  out.number(static_cast<std::uint64_t>(tensor.values.size()));
  out.number(kF32);
  out.number(offset);
}

}  // namespace

std::string write_gguf_metadata(const GgufHeader& header, const std::vector<GgufNumbers>& tensors) {
  const auto kept = [](const GgufEntry& entry) { return !entry.key.starts_with(kSplitKeys); };
  Text out;
  out.bytes("GGUF", 4);
  out.number(kVersion);
  out.number(static_cast<std::uint64_t>(tensors.size()));
  out.number(static_cast<std::uint64_t>(std::count_if(header.metadata.begin(), header.metadata.end(), kept)));
  for (const GgufEntry& entry : header.metadata) {
    if (!kept(entry)) continue;
    out.text(entry.key);
    put_value(entry.value, out);
  }
  std::uint64_t offset = 0;
  for (const GgufNumbers& tensor : tensors) {
    put_entry(tensor, offset, out);
    const std::uint64_t end = offset + tensor.values.size() * sizeof(float);
    offset = (end + header.alignment - 1) / header.alignment * header.alignment;
  }
  for (const GgufNumbers& tensor : tensors) {
    out.pad_to_multiple(header.alignment);
    out.bytes(tensor.values.data(), tensor.values.size() * sizeof(float));
  }
  return out.take();
}

}  // namespace foregate
