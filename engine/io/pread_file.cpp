#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "engine/io/local_file.h"

namespace foregate {
namespace {

class PreadFile final : public File {
 public:
  explicit PreadFile(LocalFile file) : file_(std::move(file)) {}
  std::uint64_t size() const override { return file_.size; }
  const std::string& path() const override { return file_.path; }
  std::int64_t modified_ns() const override { return file_.modified_ns; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override { return read_local(file_, offset, out); }
  int descriptor() const override { return file_.descriptor.get(); }

 private:
  LocalFile file_;
};

class LocalFiles final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path) const override {
    ASSIGN_OR_RETURN(LocalFile file, open_local(path));
    return std::unique_ptr<File>(new PreadFile(std::move(file)));
  }
  Result<std::unique_ptr<File>> open_direct(const std::string& path) const override {
    ASSIGN_OR_RETURN(LocalFile file, open_local(path));
    return make_direct_file(std::move(file));
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

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<LocalFile> open_local(const std::string& path) {
  LocalFile file;
  file.descriptor = Descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.descriptor.open()) {
    const std::string why = path + ": " + std::strerror(errno);
    return errno == ENOENT ? not_found(why) : unavailable(why);
  }
  struct stat info {};
  if (::fstat(file.descriptor.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return invalid_argument(path + " is not a regular file");
  }
  file.size = static_cast<std::uint64_t>(info.st_size);
  file.modified_ns = std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
  file.path = path;
  return file;
}

Status read_local(const LocalFile& file, std::uint64_t offset, std::span<std::byte> out) {
  if (offset > file.size || out.size() > file.size - offset) {
    return data_loss(file.path + ": read past the end of the file");
  }
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(file.descriptor.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return unavailable(file.path + ": " + std::strerror(errno));
    if (got == 0) return data_loss(file.path + ": the file became shorter while it was read");
    done += static_cast<std::size_t>(got);
  }
  return {};
}

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
