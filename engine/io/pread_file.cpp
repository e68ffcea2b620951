#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "engine/io/file.h"

namespace foregate {
namespace {

class PreadFile final : public File {
 public:
  PreadFile(int fd, std::uint64_t size, std::string path) : fd_(fd), size_(size), path_(std::move(path)) {}
  ~PreadFile() override { ::close(fd_); }
  std::uint64_t size() const override { return size_; }
  const std::string& path() const override { return path_; }

  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset > size_ || out.size() > size_ - offset) return data_loss(path_ + ": read past the end of the file");
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t got = ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return unavailable(path_ + ": " + std::strerror(errno));
      if (got == 0) return data_loss(path_ + ": the file became shorter while it was read");
      done += static_cast<std::size_t>(got);
    }
    return {};
  }

 private:
  int fd_;
  std::uint64_t size_;
  std::string path_;
};

class LocalFiles final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path) const override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      const std::string why = path + ": " + std::strerror(errno);
      return errno == ENOENT ? not_found(why) : unavailable(why);
    }
    struct stat info {};
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(fd);
      return invalid_argument(path + " is not a regular file");
    }
    return std::unique_ptr<File>(new PreadFile(fd, static_cast<std::uint64_t>(info.st_size), path));
  }

  bool exists(const std::string& path) const override { return ::access(path.c_str(), R_OK) == 0; }

  Result<std::vector<std::string>> list(const std::string& dir) const override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator at(dir, error);
    for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
      names.push_back(at->path().filename().string());
    }
    if (error) return not_found(dir + ": " + error.message());
    return names;
  }
};

}  // namespace

const FileSystem& local_files() {
  static const LocalFiles files;
  return files;
}

Result<std::string> read_text(const FileSystem& files, const std::string& path, std::uint64_t limit) {
  ASSIGN_OR_RETURN(auto file, files.open(path));
  if (file->size() > limit) {
    return invalid_argument(path + " has " + std::to_string(file->size()) + " bytes, more than the limit of " +
                            std::to_string(limit));
  }
  std::string text(file->size(), '\0');
  RETURN_IF_ERROR(file->read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace foregate
