#include "server/batch/batch_output.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "server/batch/batch_line.h"

namespace foregate {
namespace {

constexpr std::size_t kPiece = 1u << 20;

Status failed(const std::string& path, const char* what) {
  const int error = errno;
  const std::string text = path + ": " + what + ": " + std::strerror(error);
  return error == ENOSPC || error == EDQUOT ? resource_exhausted(text) : Status(Code::kUnavailable, text);
}

}  // namespace

BatchOutput::BatchOutput(BatchOutput&& other) noexcept {
  *this = std::move(other);
}

BatchOutput& BatchOutput::operator=(BatchOutput&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(owned_, other.owned_);
  std::swap(path_, other.path_);
  std::swap(earlier_, other.earlier_);
  std::swap(keys_, other.keys_);
  return *this;
}

BatchOutput::~BatchOutput() {
  if (owned_) ::close(fd_);
}

Result<BatchOutput> BatchOutput::open(const std::string& path) {
  BatchOutput output;
  output.path_ = path;
  if (path == "-") {
    output.fd_ = STDOUT_FILENO;
    return output;
  }
  output.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (output.fd_ < 0) return failed(path, "cannot be opened");
  output.owned_ = true;
  if (::flock(output.fd_, LOCK_EX | LOCK_NB) != 0) return unavailable(path + " is being written by another run");
  RETURN_IF_ERROR(output.take_up(path));
  return output;
}

Status BatchOutput::take_up(const std::string& path) {
  std::string held;
  std::vector<char> piece(kPiece);
  off_t whole = 0;  // bytes up to the last line's end
  while (true) {
    const ssize_t got = ::read(fd_, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(path, "cannot be read");
    if (got == 0) break;
    held.append(piece.data(), static_cast<std::size_t>(got));
    std::size_t begin = 0;
    for (std::size_t end; (end = held.find('\n', begin)) != std::string::npos; begin = end + 1) {
      auto key = batch_key(std::string_view(held).substr(begin, end - begin));
      if (!key.ok()) {
        return invalid_argument(path + ": line " + std::to_string(earlier_.size() + 1) + " " + key.status().message() +
                                    "; choose another file",
                                "--output-file");
      }
      earlier_.insert(std::move(key).value());
    }
    whole += static_cast<off_t>(begin);
    held.erase(0, begin);
  }
  // A torn line begins as a line of ours does; what does not is somebody else's.
  static constexpr std::string_view kBegin = R"({"id":"batch_req_)";
  const std::string_view torn = std::string_view(held).substr(0, kBegin.size());
  if (torn != kBegin.substr(0, torn.size())) {
    return invalid_argument(path + " is no output of a batch; choose another file", "--output-file");
  }
  if (!held.empty() && ::ftruncate(fd_, whole) != 0) return failed(path, "cannot be repaired");
  return ::lseek(fd_, whole, SEEK_SET) < 0 ? failed(path, "cannot be written") : Status();
}

Status BatchOutput::append(const std::string& key, std::string_view line) {
  std::string bytes(line);
  bytes += '\n';
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t put = ::write(fd_, bytes.data() + at, bytes.size() - at);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed(path_, "cannot be written");
    at += static_cast<std::size_t>(put);
  }
  keys_.insert(key);
  return {};
}

Status BatchOutput::sync() {
  if (!owned_ || ::fdatasync(fd_) == 0 || errno == EINVAL || errno == EROFS) return {};
  return failed(path_, "cannot be synced");
}

}  // namespace foregate
