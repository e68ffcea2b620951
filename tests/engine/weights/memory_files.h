// A file system in memory with faults, behind the same seam as the disk.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "engine/io/file.h"

namespace foregate {

// A number that several reading threads change; copies as a number.
struct SharedNumber {
  std::atomic<std::uint64_t> value{0};
  SharedNumber() = default;
  SharedNumber(const SharedNumber& other) : value(other.value.load()) {}
  SharedNumber& operator=(const SharedNumber& other) {
    value = other.value.load();
    return *this;
  }
  SharedNumber& operator=(std::uint64_t number) {
    value = number;
    return *this;
  }
  operator std::uint64_t() const { return value; }
};

struct MemoryFiles final : FileSystem {
  std::map<std::string, std::string> contents;
  std::uint64_t fail_read = 0;           // this read (counted from 1) answers with an I/O error; 0: none
  std::uint64_t shrink_to = UINT64_MAX;  // after open, reads past this byte fail as if the file was cut
  mutable SharedNumber reads;
  mutable SharedNumber largest_read;

  Result<std::unique_ptr<File>> open(const std::string& path) const override;
  bool exists(const std::string& path) const override { return contents.count(path) != 0; }
  Result<std::vector<std::string>> list(const std::string& dir) const override;
};

class MemoryFile final : public File {
 public:
  MemoryFile(const MemoryFiles& files, const std::string& path, const std::string& bytes)
      : files_(files), path_(path), bytes_(bytes) {}
  std::uint64_t size() const override { return bytes_.size(); }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    std::uint64_t largest = files_.largest_read.value;
    while (largest < out.size() && !files_.largest_read.value.compare_exchange_weak(largest, out.size())) {
    }
    if (++files_.reads.value == files_.fail_read) return unavailable(path_ + ": Input/output error");
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) return data_loss(path_ + ": past the end");
    if (offset + out.size() > files_.shrink_to) return data_loss(path_ + ": the file became shorter");
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  const MemoryFiles& files_;
  std::string path_;
  const std::string& bytes_;
};

inline Result<std::unique_ptr<File>> MemoryFiles::open(const std::string& path) const {
  const auto at = contents.find(path);
  if (at == contents.end()) return not_found(path + ": no such file");
  return std::unique_ptr<File>(new MemoryFile(*this, path, at->second));
}

inline Result<std::vector<std::string>> MemoryFiles::list(const std::string& dir) const {
  std::vector<std::string> names;
  for (const auto& [path, bytes] : contents) {
    if (path.starts_with(dir + "/") && path.find('/', dir.size() + 1) == std::string::npos) {
      names.push_back(path.substr(dir.size() + 1));
    }
  }
  if (names.empty()) return not_found(dir + ": no such directory");
  return names;
}

// A safetensors file: length, header text, `data_bytes` bytes counting up.
inline std::string safetensors(const std::string& header, std::size_t data_bytes) {
  std::string bytes(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  for (std::size_t i = 0; i < data_bytes; ++i) bytes += static_cast<char>(i);
  return bytes;
}

inline std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + rest;
}

// One tensor's description.
inline std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                          const std::string& begin, const std::string& end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + begin + "," +
         end + "]}";
}

}  // namespace foregate
