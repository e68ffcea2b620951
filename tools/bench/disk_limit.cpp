#include "tools/bench/disk_limit.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/io/read_queue.h"
#include "kernels/api/check.h"
#include "kernels/cpu/cpu_device.h"
#include "tools/bench/random_weights.h"

namespace foregate {
namespace {

constexpr auto kLongestWait = std::chrono::milliseconds(10);

class RandomReads {
 public:
  RandomReads(const ExpertTable& table, ReadQueue& queue, std::byte* memory, std::uint64_t part, std::uint64_t seed)
      : table_(table), queue_(queue), memory_(memory), part_(part), random_(seed) {}

  void begin(std::uint64_t place) {
    const ExpertExtent& extent = table_.extents[random_.below(static_cast<std::uint32_t>(table_.extents.size()))];
    const ReadOp op{.file = extent.file,
                    .offset = extent.offset,
                    .out = {memory_ + place * part_, static_cast<std::size_t>(extent.bytes)},
                    .tag = place};
    bytes_ += extent.bytes;
    ++reads_;
    queue_.submit({&op, 1});
  }

  // Waits for an end, and goes on in its place when there is to be more.
  Status next(bool more) {
    ends_.clear();
    queue_.wait(ends_, kLongestWait);
    for (const ReadEnd& end : ends_) {
      if (!end.status.ok()) return end.status;
      if (more) begin(end.tag);
    }
    return {};
  }

  std::uint64_t bytes() const { return bytes_; }
  std::int64_t reads() const { return reads_; }

 private:
  const ExpertTable& table_;
  ReadQueue& queue_;
  std::byte* memory_;
  std::uint64_t part_;
  FastRandom random_;
  std::vector<ReadEnd> ends_;
  std::uint64_t bytes_ = 0;
  std::int64_t reads_ = 0;
};

}  // namespace

Result<DiskLimit> measure_disk(const ExpertTable& table, const DiskLimitOptions& options) {
  CHECK(!table.extents.empty() && options.depth > 0);
  std::uint64_t part = 0;
  for (const ExpertExtent& extent : table.extents) part = std::max(part, extent.bytes);
  const Memory memory = allocate_host(static_cast<std::size_t>(part * options.depth) + kDirectPage);
  if (!memory) return resource_exhausted("no memory to measure the disk with");
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  std::byte* aligned = memory.data() + (kDirectPage - begin % kDirectPage) % kDirectPage;
  std::fill_n(aligned, part * options.depth, std::byte{0});  // the pages are there before the clock runs
  std::string why_not;
  const std::unique_ptr<ReadQueue> queue = make_read_queue(options.depth, why_not);
  RandomReads reads(table, *queue, aligned, part, options.seed);
  const TimeNs start = system_clock().now();
  const auto seconds = [start] { return seconds_between(start, system_clock().now()); };
  for (std::size_t i = 0; i < options.depth; ++i) reads.begin(i);
  while (queue->in_flight() > 0) RETURN_IF_ERROR(reads.next(seconds() < options.seconds));
  DiskLimit limit{.bytes_per_second = static_cast<double>(reads.bytes()) / seconds(), .reads = reads.reads()};
  limit.direct = std::all_of(table.extents.begin(), table.extents.end(),
                             [](const ExpertExtent& extent) { return extent.file->direct(); });
  return limit;
}

}  // namespace foregate
