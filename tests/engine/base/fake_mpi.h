// MPI between threads of a test: what ports of one hub send, they find, unless a rank is stopped: then nothing that is
// for it or from it moves.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/comm/mpi_port.h"

namespace foregate {

struct MpiPort::Request {
  bool receives = false;
  bool done = false;
  std::int32_t from = 0, to = 0;
  int tag = 0;
  std::span<const std::byte> out = {};
  std::span<std::byte> in = {};
};

class FakeMpi {
 public:
  explicit FakeMpi(std::int32_t size) {
    for (std::int32_t rank = 0; rank < size; ++rank) ports_.push_back(std::make_unique<Port>(*this, rank));
  }
  MpiPort& port(std::int32_t rank) { return *ports_.at(static_cast<std::size_t>(rank)); }
  void stop(std::int32_t rank) {
    const std::lock_guard lock(mutex_);
    stopped_.insert(rank);
  }
  void resume(std::int32_t rank) {
    const std::lock_guard lock(mutex_);
    stopped_.erase(rank);
  }
  // Whatever is under way.
  void forget() {
    const std::lock_guard lock(mutex_);
    channels_.clear();
  }
  int left() const {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(left_.size());
  }
  // Calls of ranks that had left.
  int late_calls() const {
    const std::lock_guard lock(mutex_);
    return late_calls_;
  }

 private:
  using Channel = std::tuple<std::int32_t, std::int32_t, int>;  // from, to, tag

  class Port final : public MpiPort {
   public:
    Port(FakeMpi& hub, std::int32_t rank) : hub_(hub), rank_(rank) {}
    std::int32_t rank() const override { return rank_; }
    std::int32_t size() const override { return static_cast<std::int32_t>(hub_.ports_.size()); }
    std::int32_t ranks_of_host() const override { return size(); }
    Request* send(std::int32_t to, int tag, std::span<const std::byte> bytes) override {
      const std::lock_guard lock(hub_.mutex_);
      note_call();
      auto* const request = new Request{.from = rank_, .to = to, .tag = tag, .out = bytes};
      request->done = hub_.moves(*request);  // as short messages do
      return request;
    }
    Answer find(std::int32_t from, int tag, std::uint64_t& bytes) override {
      const std::lock_guard lock(hub_.mutex_);
      note_call();
      const auto& queue = hub_.channels_[{from, rank_, tag}];
      if (queue.empty()) return Answer::kNo;
      bytes = queue.front().size();
      return Answer::kYes;
    }
    Request* receive(std::int32_t from, int tag, std::span<std::byte> to) override {
      const std::lock_guard lock(hub_.mutex_);
      note_call();
      return new Request{.receives = true, .from = from, .to = rank_, .tag = tag, .in = to};
    }
    Answer test(Request* request) override {
      const std::lock_guard lock(hub_.mutex_);
      note_call();
      if (!request->done && !hub_.moves(*request)) return Answer::kNo;
      delete request;
      return Answer::kYes;
    }
    void leave() override {
      const std::lock_guard lock(hub_.mutex_);
      hub_.left_.insert(rank_);
    }

   private:
    void note_call() { hub_.late_calls_ += hub_.left_.count(rank_) > 0 ? 1 : 0; }  // under the lock

    FakeMpi& hub_;
    const std::int32_t rank_;
  };

  // Under the lock.
  bool moves(const MpiPort::Request& request) {
    if (stopped_.count(request.from) > 0 || stopped_.count(request.to) > 0) return false;
    auto& queue = channels_[{request.from, request.to, request.tag}];
    if (!request.receives) {
      queue.emplace_back(request.out.begin(), request.out.end());
      return true;
    }
    if (queue.empty()) return false;
    std::copy(queue.front().begin(), queue.front().end(), request.in.begin());
    queue.pop_front();
    return true;
  }

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::map<Channel, std::deque<std::vector<std::byte>>> channels_;
  std::set<std::int32_t> stopped_;
  std::set<std::int32_t> left_;
  int late_calls_ = 0;
};

}  // namespace foregate
