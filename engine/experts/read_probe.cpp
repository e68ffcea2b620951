#include "engine/experts/read_probe.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/rng.h"
#include "engine/io/read_queue.h"
#include "kernels/api/check.h"

namespace foregate {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLongestWait = std::chrono::milliseconds(10);

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::uint64_t largest_read(const ExpertTable& table, const ReadProbe& probe) {
  std::uint64_t largest = 0;
  for (const ExpertExtent& extent : table.extents) largest = std::max(largest, extent.bytes);
  return probe.read_bytes == 0 ? largest : std::min(largest, probe.read_bytes);
}

class RandomReads {
 public:
  RandomReads(const ExpertTable& table, const ReadProbe& probe, std::byte* memory)
      : table_(table), probe_(probe), memory_(memory), part_(largest_read(table, probe)), begun_(probe.depth) {
    std::string why_not;
    queue_ = make_read_queue(probe.depth, why_not);
  }

  void begin(std::uint64_t place) {
    const ExpertExtent& extent = table_.extents[below(table_.extents.size())];
    const std::uint64_t bytes = std::min(part_, extent.bytes);
    const std::uint64_t first = below(extent.bytes / bytes) * bytes;
    const ReadOp op{.file = extent.file,
                    .offset = extent.offset + first,
                    .out = {memory_ + place * part_, static_cast<std::size_t>(bytes)},
                    .tag = place};
    rate_.bytes += bytes;
    ++rate_.reads;
    begun_[place] = Clock::now();
    queue_->submit({&op, 1});
  }

  // Waits for an end, and goes on in its place when there is to be more.
  Status next(bool more) {
    ends_.clear();
    queue_->wait(ends_, kLongestWait);
    for (const ReadEnd& end : ends_) {
      if (!end.status.ok()) return end.status;
      latencies_.push_back(seconds_since(begun_[end.tag]));
      if (more) begin(end.tag);
    }
    return {};
  }

  bool in_flight() const { return queue_->in_flight() > 0; }
  ReadRate rate(double seconds) {
    rate_.bytes_per_second = static_cast<double>(rate_.bytes) / seconds;
    const auto middle = latencies_.begin() + static_cast<std::ptrdiff_t>(latencies_.size() / 2);
    std::nth_element(latencies_.begin(), middle, latencies_.end());
    rate_.latency_seconds = *middle;
    const auto direct = [](const ExpertExtent& extent) { return extent.file->direct(); };
    rate_.direct = std::all_of(table_.extents.begin(), table_.extents.end(), direct);
    return rate_;
  }

 private:
  std::size_t below(std::size_t count) {
    return static_cast<std::size_t>(uniform01(probe_.seed, 0, draws_++) * static_cast<double>(count));
  }

  const ExpertTable& table_;
  const ReadProbe& probe_;
  std::byte* memory_;
  std::uint64_t part_;
  std::unique_ptr<ReadQueue> queue_;
  std::uint64_t draws_ = 0;
  std::vector<Clock::time_point> begun_;
  std::vector<double> latencies_;
  std::vector<ReadEnd> ends_;
  ReadRate rate_;
};

}  // namespace

std::uint64_t probe_bytes(const ExpertTable& table, const ReadProbe& probe) {
  return largest_read(table, probe) * probe.depth;
}

Result<ReadRate> measure_reads(const ExpertTable& table, const ReadProbe& probe, std::span<std::byte> memory) {
  CHECK(!table.extents.empty() && probe.depth > 0 && memory.size() >= probe_bytes(table, probe));
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % kDirectPage == 0);
  RandomReads reads(table, probe, memory.data());
  const Clock::time_point start = Clock::now();
  for (std::size_t i = 0; i < probe.depth; ++i) reads.begin(i);
  while (reads.in_flight()) {
    const bool stopped = probe.stop != nullptr && probe.stop->load();
    RETURN_IF_ERROR(reads.next(!stopped && seconds_since(start) < probe.seconds));
  }
  return reads.rate(std::max(seconds_since(start), 1e-9));
}

}  // namespace foregate
