#include "tools/bench/disk_limit.h"

#include <algorithm>

#include "engine/experts/read_probe.h"
#include "kernels/cpu/cpu_device.h"

namespace foregate {

Result<DiskLimit> measure_disk(const ExpertTable& table, const DiskLimitOptions& options) {
  const ReadProbe probe{.depth = options.depth, .seconds = options.seconds, .seed = options.seed};
  const auto bytes = static_cast<std::size_t>(probe_bytes(table, probe));
  const Memory memory = allocate_host(bytes + kDirectPage);
  if (!memory) return resource_exhausted("no memory to measure the disk with");
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  std::byte* aligned = memory.data() + (kDirectPage - begin % kDirectPage) % kDirectPage;
  std::fill_n(aligned, bytes, std::byte{0});  // the pages are there before the clock runs
  ASSIGN_OR_RETURN(const ReadRate rate, measure_reads(table, probe, {aligned, bytes}));
  return DiskLimit{.bytes_per_second = rate.bytes_per_second, .reads = rate.reads, .direct = rate.direct};
}

}  // namespace foregate
