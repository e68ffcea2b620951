#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "engine/io/local_file.h"
#include "engine/io/output.h"

namespace foregate {
namespace {

Status failed(const std::string& path, int error) {
  std::string why = path + ": " + std::strerror(error);
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return full ? resource_exhausted(std::move(why)) : unavailable(std::move(why));
}

class LocalOutputFile final : public OutputFile {
 public:
  LocalOutputFile(Descriptor descriptor, std::string path)
      : descriptor_(std::move(descriptor)), path_(std::move(path)) {}

  Status write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t put = ::pwrite(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return failed(path_, errno);
      if (put == 0) return failed(path_, ENOSPC);
      offset += static_cast<std::uint64_t>(put);
      bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return {};
  }
  Status resize(std::uint64_t bytes) override {
    return ::ftruncate(descriptor_.get(), static_cast<off_t>(bytes)) == 0 ? Status() : failed(path_, errno);
  }
  Status sync() override { return ::fsync(descriptor_.get()) == 0 ? Status() : failed(path_, errno); }

 private:
  Descriptor descriptor_;
  std::string path_;
};

class LocalOutputDirectory final : public OutputDirectory {
 public:
  LocalOutputDirectory(Descriptor descriptor, std::string path)
      : descriptor_(std::move(descriptor)), path_(std::move(path)) {}
  const std::string& path() const override { return path_; }

  Result<std::vector<std::string>> names() const override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator entry(path_, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) return failed(path_, error.value());
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<std::uint64_t> free_bytes() const override {
    struct statvfs info {};
    if (::fstatvfs(descriptor_.get(), &info) != 0) return failed(path_, errno);
    return std::uint64_t{info.f_bavail} * info.f_frsize;
  }

  Result<std::unique_ptr<OutputFile>> open(const std::string& name) override {
    const std::string path = path_ + "/" + name;
    if (const auto slash = name.rfind('/'); slash != std::string::npos) {
      std::error_code error;
      std::filesystem::create_directories(path_ + "/" + name.substr(0, slash), error);
      if (error) return failed(path, error.value());
    }
    Descriptor descriptor(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    if (!descriptor.open()) return failed(path, errno);
    return std::unique_ptr<OutputFile>(new LocalOutputFile(std::move(descriptor), path));
  }

  Status rename(const std::string& from, const std::string& to) override {
    return ::renameat(descriptor_.get(), from.c_str(), descriptor_.get(), to.c_str()) == 0
               ? Status()
               : failed(path_ + "/" + to, errno);
  }
  Status remove(const std::string& name) override {
    return ::unlinkat(descriptor_.get(), name.c_str(), 0) == 0 ? Status() : failed(path_ + "/" + name, errno);
  }
  Status sync() override { return ::fsync(descriptor_.get()) == 0 ? Status() : failed(path_, errno); }

 private:
  Descriptor descriptor_;  // locked
  std::string path_;
};

}  // namespace

Result<std::unique_ptr<OutputDirectory>> open_output_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!descriptor.open()) {
    if (errno == ENOTDIR || error == std::errc::not_a_directory) return invalid_argument(path + " is not a directory");
    return failed(path, error ? error.value() : errno);
  }
  if (::flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return unavailable(path + " is being written by another process");
  }
  return std::unique_ptr<OutputDirectory>(new LocalOutputDirectory(std::move(descriptor), path));
}

}  // namespace foregate
