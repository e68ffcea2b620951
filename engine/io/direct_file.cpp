#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "engine/io/local_file.h"

namespace foregate {
namespace {

bool whole_pages(std::uint64_t offset, std::span<std::byte> out) {
  return (offset | out.size() | reinterpret_cast<std::uintptr_t>(out.data())) % kDirectPage == 0;
}

// Reads of whole pages go by O_DIRECT until one is refused (EINVAL: a file system that only pretends); from then on,
// and for all other reads, the page cache serves.
class DirectFile final : public File {
 public:
  DirectFile(LocalFile file, Descriptor direct)
      : file_(std::move(file)), descriptor_(std::move(direct)), direct_(descriptor_.open()) {}
  std::uint64_t size() const override { return file_.size; }
  const std::string& path() const override { return file_.path; }
  std::int64_t modified_ns() const override { return file_.modified_ns; }
  bool direct() const override { return direct_.load(std::memory_order_relaxed); }
  int descriptor() const override { return direct() ? descriptor_.get() : file_.descriptor.get(); }

  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset > file_.size || out.size() > file_.size - offset) {
      return data_loss(file_.path + ": read past the end of the file");
    }
    while (!out.empty() && direct() && whole_pages(offset, out)) {
      const ssize_t got = ::pread(descriptor_.get(), out.data(), out.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EINVAL) {
        direct_.store(false, std::memory_order_relaxed);
        break;
      }
      if (got < 0) return unavailable(file_.path + ": " + std::strerror(errno));
      if (got == 0) return data_loss(file_.path + ": the file became shorter while it was read");
      offset += static_cast<std::uint64_t>(got);
      out = out.subspan(static_cast<std::size_t>(got));
    }
    return read_local(file_, offset, out);
  }

 private:
  LocalFile file_;
  Descriptor descriptor_;
  mutable std::atomic<bool> direct_;
};

}  // namespace

std::unique_ptr<File> make_direct_file(LocalFile file) {
  Descriptor direct(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
  return std::make_unique<DirectFile>(std::move(file), std::move(direct));
}

}  // namespace foregate
