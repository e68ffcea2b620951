#include "engine/comm/shared_line.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <string>

#include "engine/comm/byte_line.h"

namespace foregate {
namespace {

// One direction. Bytes are counted from the beginning of the line on; byte n lies at n % kSharedRingBytes.
struct Ring {
  alignas(64) std::atomic<std::uint64_t> written{0};
  alignas(64) std::atomic<std::uint64_t> read{0};
  alignas(64) std::atomic<std::uint32_t> reader_sleeps{0};
  std::atomic<std::uint32_t> writer_sleeps{0};
  alignas(64) std::byte bytes[kSharedRingBytes];
};

struct Shared {
  Ring rings[2];  // [0]: what the first end sends
  std::atomic<std::uint32_t> closed{0};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);
// Zeros are a line on which nothing was sent, so that neither end has to make it before the other
// looks.
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class SharedLine final : public ByteLine {
 public:
  SharedLine(int fd, Shared* shared, LineEnd end)
      : fd_(fd),
        shared_(shared),
        out_(shared->rings[end == LineEnd::kFirst ? 0 : 1]),
        in_(shared->rings[end == LineEnd::kFirst ? 1 : 0]) {}
  ~SharedLine() override {
    close();
    ::close(fd_);
    ::munmap(shared_, sizeof(Shared));
  }
  SharedLine(const SharedLine&) = delete;
  SharedLine& operator=(const SharedLine&) = delete;

  void close() override {
    shared_->closed.store(1);
    ::shutdown(fd_, SHUT_RDWR);
    for (Ring& ring : shared_->rings) {
      wake(ring.reader_sleeps);
      wake(ring.writer_sleeps);
    }
  }

 private:
  static Status nonsense() { return data_loss("the other rank counts bytes that were not sent"); }

  // A short message is shown whole, so that its reader wakes once.
  Status write_both(std::span<const std::byte> header, std::span<const std::byte> body, TimeNs deadline) override {
    while (!header.empty() || !body.empty()) {
      if (shared_->closed.load() != 0) return peer_gone();
      const std::uint64_t waiting = sent_ - out_.read.load(std::memory_order_acquire);
      if (waiting > kSharedRingBytes) return nonsense();
      if (waiting == kSharedRingBytes) {
        RETURN_IF_ERROR(wait(out_.writer_sleeps, deadline,
                             [this] { return sent_ - out_.read.load(std::memory_order_seq_cst) != kSharedRingBytes; }));
        continue;
      }
      std::size_t room = kSharedRingBytes - static_cast<std::size_t>(waiting);
      for (std::span<const std::byte>* part : {&header, &body}) {
        const std::size_t count = std::min(room, part->size());
        copy_in(part->first(count));
        *part = part->subspan(count);
        room -= count;
      }
      out_.written.store(sent_, std::memory_order_seq_cst);
      wake(out_.reader_sleeps);
    }
    return {};
  }

  void copy_in(std::span<const std::byte> bytes) {
    const std::size_t at = sent_ % kSharedRingBytes;
    const std::size_t first = std::min(bytes.size(), kSharedRingBytes - at);
    if (first > 0) std::memcpy(out_.bytes + at, bytes.data(), first);
    if (bytes.size() > first) std::memcpy(out_.bytes, bytes.data() + first, bytes.size() - first);
    sent_ += bytes.size();
  }

  Status read_all(std::span<std::byte> bytes, TimeNs deadline) override {
    while (!bytes.empty()) {
      const std::uint64_t there = in_.written.load(std::memory_order_acquire) - taken_;
      if (there > kSharedRingBytes) return nonsense();
      if (there == 0) {
        RETURN_IF_ERROR(wait(in_.reader_sleeps, deadline,
                             [this] { return in_.written.load(std::memory_order_seq_cst) != taken_; }));
        continue;
      }
      const std::size_t count = std::min(bytes.size(), static_cast<std::size_t>(there));
      copy_out(bytes.first(count));
      bytes = bytes.subspan(count);
      in_.read.store(taken_, std::memory_order_seq_cst);
      wake(in_.writer_sleeps);
    }
    return {};
  }

  void copy_out(std::span<std::byte> bytes) {
    const std::size_t at = taken_ % kSharedRingBytes;
    const std::size_t first = std::min(bytes.size(), kSharedRingBytes - at);
    std::memcpy(bytes.data(), in_.bytes + at, first);
    if (bytes.size() > first) std::memcpy(bytes.data() + first, in_.bytes, bytes.size() - first);
    taken_ += bytes.size();
  }

  // After the store that it may wait for: either the sleeper sees that store or this sees that it sleeps.
  static void wake(std::atomic<std::uint32_t>& sleeps) {
    if (sleeps.load(std::memory_order_seq_cst) == 0 || sleeps.exchange(0) == 0) return;
    ::syscall(SYS_futex, &sleeps, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }

  // Looks again and again for about as long as a layer takes, and offers the processor to others meanwhile; then
  // sleeps. What the other end wrote before it went away is still read.
  template <class Ready>
  Status wait(std::atomic<std::uint32_t>& sleeps, TimeNs deadline, const Ready& ready) {
    const TimeNs begin = system_clock().now();
    for (TimeNs now = begin;; now = system_clock().now()) {
      for (int look = 0; look < kLooks; ++look) {
        if (ready()) return {};
        relax();
      }
      if (shared_->closed.load() != 0) return ready() ? Status() : peer_gone();
      if (now >= deadline) return peer_late();
      if (now < begin + kSpinNs) {
        if (now >= begin + kSelfishNs) ::sched_yield();
        continue;
      }
      sleeps.store(1, std::memory_order_seq_cst);
      if (!ready() && shared_->closed.load() == 0) sleep(sleeps, std::min(deadline - now, kNapNs));
      sleeps.store(0, std::memory_order_relaxed);
      if (!peer_lives()) return ready() ? Status() : peer_gone();
    }
  }

  static void sleep(std::atomic<std::uint32_t>& sleeps, TimeNs most) {
    const timespec time{.tv_sec = static_cast<time_t>(most / 1'000'000'000), .tv_nsec = most % 1'000'000'000};
    ::syscall(SYS_futex, &sleeps, FUTEX_WAIT, 1, &time, nullptr, 0);  // whatever it says, the next look tells
  }

  bool peer_lives() const {
    std::byte none;
    const ssize_t got = ::recv(fd_, &none, 1, MSG_DONTWAIT | MSG_PEEK);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR));
  }

  static constexpr int kLooks = 32;  // between two looks at the clock
  static constexpr TimeNs kSelfishNs = 20'000;
  static constexpr TimeNs kSpinNs = 200'000;
  static constexpr TimeNs kNapNs = 50'000'000;  // between two looks at the socket
  const int fd_;
  Shared* const shared_;
  Ring& out_;
  Ring& in_;
  std::uint64_t sent_ = 0;   // as this end knows it, whatever the memory says
  std::uint64_t taken_ = 0;  // likewise
};

}  // namespace

Result<int> make_line_memory() {
  const int fd = ::memfd_create("foregate rank line", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return unavailable(std::string("no shared memory: ") + std::strerror(errno));
  const int failed = ::posix_fallocate(fd, 0, sizeof(Shared));
  if (failed == 0 && ::fcntl(fd, F_ADD_SEALS, kSeals) == 0) return fd;
  const int why = failed != 0 ? failed : errno;
  ::close(fd);
  return unavailable(std::string("no shared memory: ") + std::strerror(why));
}

Result<std::unique_ptr<RankLine>> shared_line(int socket_fd, int memory_fd, LineEnd end) {
  struct stat about {};
  const bool fits = ::fstat(memory_fd, &about) == 0 && about.st_size == static_cast<off_t>(sizeof(Shared)) &&
                    (::fcntl(memory_fd, F_GET_SEALS) & kSeals) == kSeals;
  void* const at =
      fits ? ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0) : MAP_FAILED;
  const int why = errno;
  ::close(memory_fd);
  if (at != MAP_FAILED) return std::unique_ptr<RankLine>(new SharedLine(socket_fd, static_cast<Shared*>(at), end));
  ::close(socket_fd);
  if (!fits) return data_loss("the memory of a line is not what it should be");
  return unavailable(std::string("cannot map the memory of a line: ") + std::strerror(why));
}

}  // namespace foregate
