// Text for libraries that read paths, which lives in memory only and changes as a whole: whoever opens path() reads one
// text or the next, never parts of two. One thread writes; any thread or library reads.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "engine/base/status.h"

namespace foregate {

class MemoryFile {
 public:
  MemoryFile() = default;
  MemoryFile(MemoryFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  MemoryFile& operator=(MemoryFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~MemoryFile();
  Status put(std::string_view text);
  std::string path() const;  // of this process, once put() has been called; the same for every text

 private:
  int fd_ = -1;
};

}  // namespace foregate
