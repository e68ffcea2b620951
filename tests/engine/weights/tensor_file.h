// A safetensors file as a map of tensors, to be changed and written again.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/engine/weights/memory_files.h"

namespace foregate {

struct FileTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;

  template <class T>
  T at(std::size_t i) const {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    return value;
  }
  template <class T>
  void set(std::size_t i, T value) {
    std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
  }
};
using FileTensors = std::map<std::string, FileTensor>;

template <class T>
FileTensor file_tensor(const std::string& dtype, const std::vector<std::int64_t>& shape, const std::vector<T>& values) {
  return {dtype, shape, std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T))};
}

inline FileTensors parse_tensors(const std::string& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  const auto header = nlohmann::json::parse(file.substr(8, length));
  FileTensors tensors;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    const std::size_t begin = value["data_offsets"][0];
    const std::size_t end = value["data_offsets"][1];
    tensors[name] = {value["dtype"], value["shape"], file.substr(8 + length + begin, end - begin)};
  }
  return tensors;
}

inline std::string tensor_file(const FileTensors& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  const std::string text = header.dump();
  return with_length(text.size(), text + data);
}

}  // namespace foregate
