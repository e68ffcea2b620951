// Writes GGUF files in memory, good ones and, through its raw parts, bad ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace foregate {

// Numbers of value types and of tensor types, as the format has them.
inline constexpr std::uint32_t kGgufU32 = 4, kGgufI32 = 5, kGgufF32 = 6, kGgufBool = 7, kGgufString = 8, kGgufArray = 9,
                               kGgufU64 = 10;
inline constexpr std::uint32_t kGgmlF32 = 0, kGgmlF16 = 1, kGgmlQ4_0 = 2, kGgmlQ8_0 = 8, kGgmlBF16 = 30;

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string raw_text(const std::string& text) {
  return raw(static_cast<std::uint64_t>(text.size())) + text;
}

template <class T>
std::string raw_array(std::uint32_t type, const std::vector<T>& values) {
  std::string bytes = raw(type) + raw(static_cast<std::uint64_t>(values.size()));
  for (const T& value : values) {
    if constexpr (std::is_same_v<T, std::string>) {
      bytes += raw_text(value);
    } else {
      bytes += raw(value);
    }
  }
  return bytes;
}

struct GgufBuilder {
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dimensions;  // innermost first, as in the file
    std::uint32_t type = kGgmlF32;
    std::string data;
    std::uint64_t offset = UINT64_MAX;  // UINT64_MAX: after the tensor before it
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;                               // used for padding; written only when put() says so
  std::vector<std::pair<std::string, std::string>> metadata;  // key -> type and value
  std::vector<Tensor> tensors;
  std::int64_t more_keys = 0;  // announced beyond those that there are
  std::int64_t more_tensors = 0;

  void put(const std::string& key, const std::string& type_and_value) {
    for (auto& entry : metadata) {
      if (entry.first == key) {
        entry.second = type_and_value;
        return;
      }
    }
    metadata.emplace_back(key, type_and_value);
  }
  void u32(const std::string& key, std::uint32_t value) { put(key, raw(kGgufU32) + raw(value)); }
  void f32(const std::string& key, float value) { put(key, raw(kGgufF32) + raw(value)); }
  void flag(const std::string& key, bool value) { put(key, raw(kGgufBool) + std::string(1, value ? '\1' : '\0')); }
  void text(const std::string& key, const std::string& value) { put(key, raw(kGgufString) + raw_text(value)); }
  void texts(const std::string& key, const std::vector<std::string>& values) {
    put(key, raw(kGgufArray) + raw_array(kGgufString, values));
  }
  void f32s(const std::string& key, const std::vector<float>& values) {
    put(key, raw(kGgufArray) + raw_array(kGgufF32, values));
  }
  void i32s(const std::string& key, const std::vector<std::int32_t>& values) {
    put(key, raw(kGgufArray) + raw_array(kGgufI32, values));
  }
  void drop(const std::string& key) {
    std::erase_if(metadata, [&](const auto& entry) { return entry.first == key; });
  }
  Tensor& tensor(const std::string& name, std::vector<std::uint64_t> dimensions, std::uint32_t type, std::string data) {
    tensors.push_back({name, std::move(dimensions), type, std::move(data)});
    return tensors.back();
  }
  // F32 numbers counting up from `first`.
  Tensor& counting(const std::string& name, std::vector<std::uint64_t> dimensions, float first = 0.0f) {
    std::uint64_t count = 1;
    for (const std::uint64_t size : dimensions) count *= size;
    std::string data;
    for (std::uint64_t i = 0; i < count; ++i) data += raw(first + static_cast<float>(i));
    return tensor(name, std::move(dimensions), kGgmlF32, std::move(data));
  }
  void drop_tensor(const std::string& name) {
    std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; });
  }

  std::string padding(std::size_t size) const { return std::string((alignment - size % alignment) % alignment, '\0'); }

  std::string header() const {
    std::string bytes = magic + raw(version) + raw(static_cast<std::uint64_t>(tensors.size()) + more_tensors) +
                        raw(static_cast<std::uint64_t>(metadata.size()) + more_keys);
    for (const auto& [key, value] : metadata) bytes += raw_text(key) + value;
    std::uint64_t next = 0;
    for (const Tensor& tensor : tensors) {
      bytes += raw_text(tensor.name) + raw(static_cast<std::uint32_t>(tensor.dimensions.size()));
      for (const std::uint64_t size : tensor.dimensions) bytes += raw(size);
      bytes += raw(tensor.type) + raw(tensor.offset == UINT64_MAX ? next : tensor.offset);
      next += tensor.data.size() + padding(tensor.data.size()).size();
    }
    return bytes;
  }

  std::string bytes() const {
    std::string all = header();
    all += padding(all.size());
    for (const Tensor& tensor : tensors) all += tensor.data + padding(tensor.data.size());
    return all;
  }
};

// A small good file with a value of each kind.
inline GgufBuilder small_gguf() {
  GgufBuilder file;
  file.text("general.architecture", "olmoe");
  file.u32("a.u32", 7);
  file.put("a.u64", raw(kGgufU64) + raw(std::uint64_t{1} << 40));
  file.f32("a.f32", 1.5f);
  file.flag("a.bool", true);
  file.texts("a.texts", {"x", "", "yz"});
  file.i32s("a.i32s", {1, -2, 3});
  file.f32s("a.f32s", {0.5f});
  file.counting("t.a", {4, 3});
  file.tensor("t.b", {32, 2}, kGgmlQ8_0, std::string(68, 'q'));
  file.counting("t.c", {5}, 100.0f);
  return file;
}

}  // namespace foregate
