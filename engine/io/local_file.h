// What the kinds of local files share: an open descriptor of a regular file, and a read that does not stop short.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "engine/io/file.h"

namespace foregate {

// Owns a file descriptor. Move-only.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_;
};

struct LocalFile {
  Descriptor descriptor;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  std::string path;
};

// kNotFound, kUnavailable, or kInvalidArgument for anything but a regular file.
Result<LocalFile> open_local(const std::string& path);
// All of `out` from `offset`, or fails as File::read() does.
Status read_local(const LocalFile& file, std::uint64_t offset, std::span<std::byte> out);

// FileSystem::open_direct() of local_files(): `file`, and a second descriptor with O_DIRECT where that is allowed.
std::unique_ptr<File> make_direct_file(LocalFile file);

}  // namespace foregate
