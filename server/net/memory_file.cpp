#include "server/net/memory_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace foregate {
namespace {

Status failed(const char* what) {
  return unavailable(std::string("memory for a file cannot be ") + what + ": " + std::strerror(errno));
}

}  // namespace

MemoryFile::~MemoryFile() {
  if (fd_ >= 0) ::close(fd_);
}

Status MemoryFile::put(std::string_view text) {
  MemoryFile next;
  next.fd_ = ::memfd_create("foregate", MFD_CLOEXEC);
  if (next.fd_ < 0) return failed("had");
  while (!text.empty()) {
    const ssize_t put = ::write(next.fd_, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed("written");
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  if (fd_ < 0) return std::swap(fd_, next.fd_), Status();
  return ::dup3(next.fd_, fd_, O_CLOEXEC) < 0 ? failed("replaced") : Status();
}

std::string MemoryFile::path() const {
  return "/proc/self/fd/" + std::to_string(fd_);
}

}  // namespace foregate
