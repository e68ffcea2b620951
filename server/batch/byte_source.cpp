#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "server/batch/line_source.h"

namespace foregate {
namespace {

constexpr std::size_t kCompressedPiece = 128u << 10;

// The file as it is, with its first bytes to look at.
class RawBytes final : public ByteSource {
 public:
  RawBytes(int fd, bool owned) : fd_(fd), owned_(owned) {}
  ~RawBytes() override {
    if (owned_) ::close(fd_);
  }
  Status look(std::size_t count, std::string& first) {
    while (head_.size() < count) {
      char byte[8];
      ASSIGN_OR_RETURN(const std::size_t got, read_file(byte, count - head_.size()));
      if (got == 0) break;
      head_.append(byte, got);
    }
    first = head_;
    return {};
  }
  Result<std::size_t> read(char* to, std::size_t capacity) override {
    if (head_.empty()) return read_file(to, capacity);
    const std::size_t count = std::min(capacity, head_.size());
    std::memcpy(to, head_.data(), count);
    head_.erase(0, count);
    return count;
  }
  std::uint64_t consumed() const override { return consumed_; }

 private:
  Result<std::size_t> read_file(char* to, std::size_t capacity) {
    ssize_t got = 0;
    do got = ::read(fd_, to, capacity);
    while (got < 0 && errno == EINTR);
    if (got < 0) return data_loss(std::string("cannot be read: ") + std::strerror(errno));
    consumed_ += static_cast<std::uint64_t>(got);
    return static_cast<std::size_t>(got);
  }

  int fd_;
  bool owned_;
  std::string head_;
  std::uint64_t consumed_ = 0;
};

class GzipBytes final : public ByteSource {
 public:
  explicit GzipBytes(std::unique_ptr<ByteSource> raw) : raw_(std::move(raw)), piece_(kCompressedPiece) {
    good_ = inflateInit2(&state_, 15 + 16) == Z_OK;
  }
  ~GzipBytes() override {
    if (good_) inflateEnd(&state_);
  }
  Result<std::size_t> read(char* to, std::size_t capacity) override {
    if (!good_) return internal_error("zlib could not begin");
    state_.next_out = reinterpret_cast<Bytef*>(to);
    state_.avail_out = static_cast<uInt>(capacity);
    while (state_.avail_out == capacity) {
      if (state_.avail_in == 0) {
        ASSIGN_OR_RETURN(const std::size_t got, raw_->read(piece_.data(), piece_.size()));
        if (got == 0) return between_ ? Result<std::size_t>(0) : data_loss("the gzip data is cut off");
        state_.next_in = reinterpret_cast<Bytef*>(piece_.data());
        state_.avail_in = static_cast<uInt>(got);
      }
      between_ = false;
      const int code = inflate(&state_, Z_NO_FLUSH);
      if (code == Z_STREAM_END) {  // another member may follow
        between_ = true;
        inflateReset(&state_);
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return data_loss("the gzip data is damaged");
      }
    }
    return capacity - state_.avail_out;
  }
  std::uint64_t consumed() const override { return raw_->consumed(); }

 private:
  std::unique_ptr<ByteSource> raw_;
  std::vector<char> piece_;
  z_stream state_{};
  bool good_ = false;
  bool between_ = false;  // members: here the data may end
};

class ZstdBytes final : public ByteSource {
 public:
  explicit ZstdBytes(std::unique_ptr<ByteSource> raw)
      : raw_(std::move(raw)), piece_(kCompressedPiece), state_(ZSTD_createDStream()) {}
  ~ZstdBytes() override { ZSTD_freeDStream(state_); }
  Result<std::size_t> read(char* to, std::size_t capacity) override {
    if (state_ == nullptr) return internal_error("zstd could not begin");
    ZSTD_outBuffer out{to, capacity, 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !more_) {
        ASSIGN_OR_RETURN(const std::size_t got, raw_->read(piece_.data(), piece_.size()));
        if (got == 0) return left_ == 0 ? Result<std::size_t>(0) : data_loss("the zstd data is cut off");
        in_ = {piece_.data(), got, 0};
      }
      left_ = ZSTD_decompressStream(state_, &out, &in_);
      if (ZSTD_isError(left_)) return data_loss("the zstd data is damaged");
      more_ = out.pos == out.size;  // it may hold more output than there was room for
    }
    return out.pos;
  }
  std::uint64_t consumed() const override { return raw_->consumed(); }

 private:
  std::unique_ptr<ByteSource> raw_;
  std::vector<char> piece_;
  ZSTD_DStream* state_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  std::size_t left_ = 0;  // 0: between frames, here the data may end
  bool more_ = false;
};

}  // namespace

Result<std::unique_ptr<ByteSource>> open_bytes(const std::string& path) {
  const bool standard = path == "-";
  const int fd = standard ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return invalid_argument(path + ": " + std::strerror(errno), "--input-file");
  auto raw = std::make_unique<RawBytes>(fd, !standard);
  std::string first;
  RETURN_IF_ERROR(raw->look(4, first));
  if (first.starts_with("\x1f\x8b")) return std::unique_ptr<ByteSource>(std::make_unique<GzipBytes>(std::move(raw)));
  if (first == "\x28\xb5\x2f\xfd") return std::unique_ptr<ByteSource>(std::make_unique<ZstdBytes>(std::move(raw)));
  return std::unique_ptr<ByteSource>(std::move(raw));
}

}  // namespace foregate
