// Bytes as the one file of a file system, for targets that read files.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/io/file.h"
#include "kernels/api/check.h"

namespace foregate {

class BytesFile final : public File {
 public:
  explicit BytesFile(std::string_view bytes, std::string path = "fuzz") : bytes_(bytes), path_(std::move(path)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    CHECK(offset <= bytes_.size() && out.size() <= bytes_.size() - offset);  // nobody may ask for more
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  std::string_view bytes_;
  std::string path_;
};

class OneFile final : public FileSystem {
 public:
  OneFile(std::string path, std::string_view bytes) : path_(std::move(path)), bytes_(bytes) {}
  Result<std::unique_ptr<File>> open(const std::string& path) const override {
    if (path != path_) return not_found(path);
    return std::unique_ptr<File>(std::make_unique<BytesFile>(bytes_, path_));
  }
  bool exists(const std::string& path) const override { return path == path_; }
  Result<std::vector<std::string>> list(const std::string& dir) const override { return not_found(dir); }

 private:
  std::string path_;
  std::string_view bytes_;
};

}  // namespace foregate
