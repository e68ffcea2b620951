#include <liburing.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/io/read_queue.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

// One slot per read in flight: it may need more than one turn, since a read may stop short.
struct Slot {
  ReadOp op;
  std::size_t done = 0;
};

class UringQueue final : public ReadQueue {
 public:
  static Result<std::unique_ptr<ReadQueue>> create(std::size_t depth) {
    std::unique_ptr<UringQueue> queue(new UringQueue(depth));
    const int error = ::io_uring_queue_init(static_cast<unsigned>(depth), &queue->ring_, 0);
    if (error < 0) return unavailable(std::string("io_uring: ") + std::strerror(-error));
    queue->open_ = true;
    if ((queue->ring_.features & IORING_FEAT_EXT_ARG) == 0) return unavailable("io_uring: the kernel is too old");
    return std::unique_ptr<ReadQueue>(std::move(queue));
  }
  ~UringQueue() override {
    if (!open_) return;
    std::vector<ReadEnd> ends;
    while (in_flight() > 0) wait(ends, std::chrono::seconds(1));
    ::io_uring_queue_exit(&ring_);
  }
  std::string_view name() const override { return "io_uring"; }
  std::size_t depth() const override { return slots_.size(); }
  std::size_t in_flight() const override {
    std::lock_guard lock(mutex_);
    return in_flight_;
  }

  void submit(std::span<const ReadOp> ops) override {
    std::lock_guard lock(mutex_);
    CHECK(ops.size() <= free_.size());
    for (const ReadOp& op : ops) {
      const std::size_t slot = free_.back();
      free_.pop_back();
      slots_[slot] = {op, 0};
      ++in_flight_;
      start(slot);
    }
    hand_over();
  }

  // The kernel is waited in without the mutex: with IORING_FEAT_EXT_ARG that touches the completions only.
  void wait(std::vector<ReadEnd>& ends, std::chrono::microseconds limit) override {
    const std::size_t before = ends.size();
    __kernel_timespec time{.tv_sec = limit.count() / 1'000'000, .tv_nsec = limit.count() % 1'000'000 * 1000};
    while (true) {
      {
        std::lock_guard lock(mutex_);
        hand_over();
        take_ends(ends);
        read_early(ends);
        if (in_flight_ == 0 || ends.size() > before || limit.count() == 0) return;
      }
      io_uring_cqe* cqe = nullptr;
      const int error = ::io_uring_wait_cqe_timeout(&ring_, &cqe, &time);
      if (error < 0 && error != -EINTR) limit = std::chrono::microseconds(0);  // time is over
    }
  }

 private:
  explicit UringQueue(std::size_t depth) : slots_(depth) {
    for (std::size_t i = depth; i > 0; --i) free_.push_back(i - 1);
  }

  // A busy kernel may take none or some of them; the next wait() offers the others again.
  void hand_over() {
    while (::io_uring_sq_ready(&ring_) > 0 && ::io_uring_submit(&ring_) > 0) {
    }
  }

  void start(std::size_t number) {
    const Slot& slot = slots_[number];
    const int fd = slot.op.file->descriptor();
    io_uring_sqe* sqe = fd < 0 || past_end(slot.op) ? nullptr : ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) {  // a file without a descriptor is read by the thread that waits
      early_.push_back(number);
      return;
    }
    ::io_uring_prep_read(sqe, fd, slot.op.out.data() + slot.done, static_cast<unsigned>(slot.op.out.size() - slot.done),
                         slot.op.offset + slot.done);
    ::io_uring_sqe_set_data64(sqe, number);
  }
  static bool past_end(const ReadOp& op) {
    return op.offset > op.file->size() || op.out.size() > op.file->size() - op.offset;
  }

  void take_ends(std::vector<ReadEnd>& ends) {
    io_uring_cqe* cqe = nullptr;
    bool again = false;
    while (::io_uring_peek_cqe(&ring_, &cqe) == 0) {
      const auto number = static_cast<std::size_t>(::io_uring_cqe_get_data64(cqe));
      const int got = cqe->res;
      ::io_uring_cqe_seen(&ring_, cqe);
      Slot& slot = slots_[number];
      if (got > 0) slot.done += static_cast<std::size_t>(got);
      if (got > 0 && slot.done == slot.op.out.size()) {
        finish(number, {}, ends);
      } else if (got > 0 || got == -EINTR || got == -EAGAIN) {
        start(number);
        again = true;
      } else {
        // The plain read says what is wrong, or does without O_DIRECT where that is refused.
        finish(number, slot.op.file->read(slot.op.offset + slot.done, slot.op.out.subspan(slot.done)), ends);
      }
    }
    if (again) hand_over();
  }

  void read_early(std::vector<ReadEnd>& ends) {
    for (const std::size_t number : std::exchange(early_, {})) {
      const Slot& slot = slots_[number];
      finish(number, slot.op.file->read(slot.op.offset + slot.done, slot.op.out.subspan(slot.done)), ends);
    }
  }

  void finish(std::size_t number, Status status, std::vector<ReadEnd>& ends) {
    ends.push_back({slots_[number].op.tag, std::move(status)});
    free_.push_back(number);
    --in_flight_;
  }

  io_uring ring_{};
  bool open_ = false;
  mutable std::mutex mutex_;  // of submissions and of all below
  std::vector<Slot> slots_;
  std::vector<std::size_t> free_;
  std::vector<std::size_t> early_;  // not given to the ring
  std::size_t in_flight_ = 0;
};

}  // namespace

Result<std::unique_ptr<ReadQueue>> make_uring_queue(std::size_t depth) {
  return UringQueue::create(depth);
}

}  // namespace foregate
