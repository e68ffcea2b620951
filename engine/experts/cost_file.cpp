#include "engine/experts/cost_file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/base/checksum.h"
#include "engine/experts/byte_order.h"

namespace foregate {
namespace {

constexpr std::string_view kMagic = "FGCOSTSF";
constexpr std::size_t kHeader = 24;
constexpr std::size_t kTail = 8;

Status damaged(std::string_view label, std::size_t offset, const std::string& what) {
  return data_loss(std::string(label) + ", offset " + std::to_string(offset) + ": " + what, "costs");
}

void append_text(std::vector<std::byte>& bytes, std::string_view text) {
  append_number(bytes, static_cast<std::uint32_t>(text.size()));
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
}

void append_costs(std::vector<std::byte>& bytes, const CostModel& costs) {
  append_number(bytes, costs.chunk_bytes);
  append_number(bytes, costs.depth);
  for (const double value :
       {costs.reading_bytes_per_second, costs.memory_bytes_per_second, costs.memory_bytes_per_second_reading,
        costs.observed_factor, costs.observed_bytes_per_second}) {
    append_number(bytes, value);
  }
  append_number(bytes, static_cast<std::uint32_t>(costs.reads.size()));
  for (const ReadCost& read : costs.reads) {
    append_number(bytes, read.bytes);
    append_number(bytes, read.depth);
    append_number(bytes, read.bytes_per_second);
    append_number(bytes, read.latency_seconds);
  }
  append_number(bytes, static_cast<std::uint32_t>(costs.kernels.size()));
  for (const KernelCost& kernel : costs.kernels) {
    append_text(bytes, kernel.format);
    append_number(bytes, kernel.expert_bytes);
    append_number(bytes, static_cast<std::uint32_t>(kernel.points.size()));
    for (const KernelPoint& point : kernel.points) {
      append_number(bytes, point.rows);
      append_number(bytes, point.seconds);
    }
  }
}

// Takes numbers one by one; after the end it gives zeros and is not ok.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::size_t at) : bytes_(bytes), at_(at) {}
  template <class T>
  T take() {
    if (bytes_.size() - at_ < sizeof(T)) return ok_ = false, T{};
    at_ += sizeof(T);
    return number_at<T>(bytes_, at_ - sizeof(T));
  }
  // A count of at most `most`.
  std::size_t count(std::size_t most) {
    const auto value = take<std::uint32_t>();
    if (value > most) ok_ = false;
    return ok_ ? value : 0;
  }
  std::string text() {
    const std::size_t size = count(kMaxCostText);
    if (bytes_.size() - at_ < size) return ok_ = false, std::string();
    std::string text(size, '\0');
    if (size > 0) std::memcpy(text.data(), bytes_.data() + at_, size);
    at_ += size;
    return text;
  }
  bool ok() const { return ok_; }
  std::size_t at() const { return at_; }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_;
  bool ok_ = true;
};

CostModel take_costs(Cursor& cursor) {
  CostModel costs;
  costs.chunk_bytes = cursor.take<std::uint64_t>();
  costs.depth = cursor.take<std::uint32_t>();
  for (double* value :
       {&costs.reading_bytes_per_second, &costs.memory_bytes_per_second, &costs.memory_bytes_per_second_reading,
        &costs.observed_factor, &costs.observed_bytes_per_second}) {
    *value = cursor.take<double>();
  }
  costs.reads.resize(cursor.count(kMaxReadCosts));
  for (ReadCost& read : costs.reads) {
    read.bytes = cursor.take<std::uint64_t>();
    read.depth = cursor.take<std::uint32_t>();
    read.bytes_per_second = cursor.take<double>();
    read.latency_seconds = cursor.take<double>();
  }
  costs.kernels.resize(cursor.count(kMaxKernelCosts));
  for (KernelCost& kernel : costs.kernels) {
    kernel.format = cursor.text();
    kernel.expert_bytes = cursor.take<std::uint64_t>();
    kernel.points.resize(cursor.count(kMaxKernelPoints));
    for (KernelPoint& point : kernel.points) {
      point.rows = cursor.take<std::int32_t>();
      point.seconds = cursor.take<double>();
    }
  }
  return costs;
}

Status check_frame(std::span<const std::byte> bytes, std::uint64_t weights_id, std::string_view label) {
  if (bytes.size() < kHeader + kTail) return damaged(label, bytes.size(), "ends inside the header");
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) return damaged(label, 0, "does not say FGCOSTSF");
  if (const auto version = number_at<std::uint32_t>(bytes, 8); version != kCostFileVersion) {
    return unimplemented(std::string(label) + " has version " + std::to_string(version) + ", this program reads " +
                             std::to_string(kCostFileVersion),
                         "costs");
  }
  const std::size_t body = bytes.size() - kTail;
  if (checksum(bytes.first(body)) != number_at<std::uint64_t>(bytes, body)) {
    return damaged(label, body, "the checksum differs");
  }
  const auto id = number_at<std::uint64_t>(bytes, 16);
  if (id == weights_id) return {};
  return invalid_argument(
      std::string(label) + " is of weights " + checksum_text(id) + ", the model is " + checksum_text(weights_id),
      "costs");
}

}  // namespace

std::vector<std::byte> write_cost_file(std::span<const CostEntry> entries, std::uint64_t weights_id) {
  std::vector<std::byte> bytes;
  for (const char c : kMagic) bytes.push_back(static_cast<std::byte>(c));
  append_number(bytes, kCostFileVersion);
  append_number(bytes, static_cast<std::uint32_t>(entries.size()));
  append_number(bytes, weights_id);
  for (const CostEntry& entry : entries) {
    append_text(bytes, entry.machine);
    append_costs(bytes, entry.costs);
  }
  append_number(bytes, checksum(bytes));
  return bytes;
}

Result<std::vector<CostEntry>> read_cost_file(std::span<const std::byte> bytes, std::uint64_t weights_id,
                                              std::string_view label) {
  RETURN_IF_ERROR(check_frame(bytes, weights_id, label));
  const std::span<const std::byte> body = bytes.first(bytes.size() - kTail);
  const auto count = number_at<std::uint32_t>(bytes, 12);
  if (count > kMaxCostEntries) return damaged(label, 12, std::to_string(count) + " entries");
  std::vector<CostEntry> entries(count);
  Cursor cursor(body, kHeader);
  for (CostEntry& entry : entries) {
    const std::size_t at = cursor.at();
    entry.machine = cursor.text();
    entry.costs = take_costs(cursor);
    if (!cursor.ok()) return damaged(label, at, "an entry ends too early or is too large");
    if (const Status status = entry.costs.check(); !status.ok()) return damaged(label, at, status.message());
  }
  if (cursor.at() != body.size()) return damaged(label, cursor.at(), "bytes behind the last entry");
  return entries;
}

const CostModel* find_costs(std::span<const CostEntry> entries, std::string_view machine) {
  const auto is = [machine](const CostEntry& entry) { return entry.machine == machine; };
  const auto found = std::find_if(entries.begin(), entries.end(), is);
  return found == entries.end() ? nullptr : &found->costs;
}

void put_costs(std::vector<CostEntry>& entries, CostEntry entry) {
  std::erase_if(entries, [&entry](const CostEntry& old) { return old.machine == entry.machine; });
  entries.insert(entries.begin(), std::move(entry));
  if (entries.size() > kMaxCostEntries) entries.resize(kMaxCostEntries);
}

}  // namespace foregate
