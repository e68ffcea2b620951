#include "server/batch/line_source.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "engine/api/limits.h"

namespace foregate {
namespace {

constexpr std::size_t kPiece = 256u << 10;

}  // namespace

Status LineSource::check() {
  bool known = true;
  for (const std::string& path : paths_) {
    if (path == "-") {
      known = false;
      continue;
    }
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) return invalid_argument(path + ": " + std::strerror(errno), "--input-file");
    if (S_ISDIR(facts.st_mode)) return invalid_argument(path + " is a directory", "--input-file");
    total_bytes_ += static_cast<std::uint64_t>(facts.st_size);
    known = known && S_ISREG(facts.st_mode);
  }
  if (!known) total_bytes_ = 0;
  return {};
}

std::uint64_t LineSource::consumed_bytes() const {
  return finished_bytes_ + (source_ ? source_->consumed() : 0);
}

// More bytes behind those that are there, or ended_.
Status LineSource::fill() {
  if (!source_) {
    if (next_path_ == paths_.size()) return {};
    ASSIGN_OR_RETURN(source_, open_bytes(paths_[next_path_]));
    ended_ = false;
  }
  buffer_.erase(0, begin_);
  begin_ = 0;
  const std::size_t before = buffer_.size();
  buffer_.resize(before + kPiece);
  auto count = source_->read(buffer_.data() + before, kPiece);
  buffer_.resize(before + (count.ok() ? *count : 0));
  if (!count.ok()) return Status(count.status().code(), paths_[next_path_] + ": " + count.status().message());
  ended_ = *count == 0;
  return {};
}

Result<std::optional<std::string>> LineSource::next() {
  bool too_long = false;
  std::size_t searched = 0;
  while (true) {
    const std::size_t end = buffer_.find('\n', begin_ + searched);
    const std::size_t held = end == std::string::npos ? buffer_.size() - begin_ : end - begin_;
    if (held > kMaxBatchLineBytes) too_long = true;
    if (end != std::string::npos || (ended_ && held > 0)) {
      std::string line = too_long ? std::string() : buffer_.substr(begin_, held);
      begin_ += held + (end != std::string::npos ? 1 : 0);
      if (too_long) return invalid_argument("the line is longer than " + std::to_string(kMaxBatchLineBytes) + " bytes");
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return std::optional<std::string>(std::move(line));
    }
    if (source_ && ended_) {
      finished_bytes_ += source_->consumed();
      source_ = nullptr;
      ++next_path_;
      ended_ = false;
    }
    if (!source_ && next_path_ == paths_.size()) return std::optional<std::string>();
    if (too_long) begin_ = buffer_.size();
    searched = too_long ? 0 : held;
    RETURN_IF_ERROR(fill());
  }
}

}  // namespace foregate
