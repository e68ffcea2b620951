#include "engine/comm/mpi_line.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "engine/comm/byte_line.h"
#include "engine/comm/mpi_tags.h"

namespace foregate {
namespace {

// Asks again at once for as long as an answer of a small layer takes, then less and less often.
class Patience {
 public:
  explicit Patience(TimeNs deadline) : deadline_(deadline), spin_until_(system_clock().now() + kSpinNs) {}
  // False: the deadline has passed.
  bool wait() {
    const TimeNs now = system_clock().now();
    if (now >= deadline_) return false;
    if (now < spin_until_) {
      ::sched_yield();
      return true;
    }
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(sleep_, deadline_ - now)));
    sleep_ = std::min(2 * sleep_, kLongestSleepNs);
    return true;
  }

 private:
  static constexpr TimeNs kSpinNs = 200'000;
  static constexpr TimeNs kLongestSleepNs = 1'000'000;
  const TimeNs deadline_;
  const TimeNs spin_until_;
  TimeNs sleep_ = 20'000;
};

class MpiLine final : public RankLine {
 public:
  MpiLine(std::shared_ptr<MpiJob> job, std::int32_t peer) : job_(std::move(job)), peer_(peer) {}
  ~MpiLine() override { close(); }

  Status send(MessageKind kind, std::uint64_t epoch, std::span<const std::byte> body, TimeNs deadline) override {
    if (closed_) return line_closed();
    if (peer_closed()) return closing_on_error(*this, unavailable("the other rank has ended the line"));
    std::vector<std::byte> frame(body.size() + kMessageHeaderBytes);
    std::copy(body.begin(), body.end(), frame.begin());
    write_header({kind, epoch, body.size()}, std::span(frame).last<kMessageHeaderBytes>());
    return closing_on_error(*this, finish(job_->port().send(peer_, kMpiFrame, frame), frame, deadline));
  }

  Result<Message> receive(const MessageBounds& bounds, TimeNs deadline) override {
    Message message;
    RETURN_IF_ERROR(closing_on_error(*this, read_message(bounds, deadline, message)));
    return message;
  }

  void close() override {
    if (closed_.exchange(true)) return;
    std::vector<std::byte> nothing(1);
    if (MpiPort::Request* const said = job_->port().send(peer_, kMpiClose, nothing))
      job_->keep(said, std::move(nothing));
  }

 private:
  Status read_message(const MessageBounds& bounds, TimeNs deadline, Message& message) {
    std::uint64_t bytes = 0;
    RETURN_IF_ERROR(wait_for_frame(bytes, deadline));
    if (bytes < kMessageHeaderBytes || bytes - kMessageHeaderBytes > bounds.most_bytes) {
      return data_loss("a message of " + std::to_string(bytes) + " bytes, at most " +
                       std::to_string(bounds.most_bytes) + " are taken");
    }
    std::vector<std::byte> frame(bytes);
    RETURN_IF_ERROR(finish(job_->port().receive(peer_, kMpiFrame, frame), frame, deadline));
    ASSIGN_OR_RETURN(const MessageHeader header,
                     read_header(std::span<const std::byte>(frame).last<kMessageHeaderBytes>(), bounds));
    if (header.body_bytes != bytes - kMessageHeaderBytes) return data_loss("a message is not as long as it says");
    frame.resize(header.body_bytes);
    message = {header.kind, header.epoch, std::move(frame)};
    return {};
  }

  bool peer_closed() const {
    std::uint64_t bytes = 0;
    return job_->port().find(peer_, kMpiClose, bytes) != MpiPort::Answer::kNo;
  }

  // What the other end sent before it closed is still taken.
  Status wait_for_frame(std::uint64_t& bytes, TimeNs deadline) {
    Patience patience(deadline);
    while (!closed_) {
      switch (job_->port().find(peer_, kMpiFrame, bytes)) {
        case MpiPort::Answer::kYes: return {};
        case MpiPort::Answer::kFailed: return peer_gone();
        case MpiPort::Answer::kNo: break;
      }
      if (peer_closed()) {
        if (job_->port().find(peer_, kMpiFrame, bytes) == MpiPort::Answer::kYes) return {};
        return unavailable("the other rank has ended the line");
      }
      if (!patience.wait()) return peer_late();
    }
    return line_closed();
  }

  // The bytes are the request's until it is over: on the way out of here with one that is not, the job gets them.
  Status finish(MpiPort::Request* request, std::vector<std::byte>& bytes, TimeNs deadline) {
    if (request == nullptr) return unavailable("MPI refuses a message of " + std::to_string(bytes.size()) + " bytes");
    Patience patience(deadline);
    while (true) {
      switch (job_->port().test(request)) {
        case MpiPort::Answer::kYes: return {};
        case MpiPort::Answer::kFailed: return peer_gone();
        case MpiPort::Answer::kNo: break;
      }
      const bool closed = closed_;
      if (!closed && patience.wait()) continue;
      job_->keep(request, std::move(bytes));
      return closed ? line_closed() : peer_late();
    }
  }

  const std::shared_ptr<MpiJob> job_;
  const std::int32_t peer_;
  std::atomic<bool> closed_ = false;
};

}  // namespace

std::shared_ptr<RankLine> mpi_line(std::shared_ptr<MpiJob> job, std::int32_t peer) {
  return std::make_shared<MpiLine>(std::move(job), peer);
}

}  // namespace foregate
