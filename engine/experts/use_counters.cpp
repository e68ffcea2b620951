#include "engine/experts/use_counters.h"

#include <cmath>

#include "engine/base/checksum.h"
#include "engine/experts/byte_order.h"

namespace foregate {
namespace {

constexpr std::string_view kMagic = "FGCOUNTS";
constexpr std::size_t kHeader = 24;
constexpr std::size_t kTail = 8;

Status damaged(std::string_view label, std::size_t offset, const std::string& what) {
  return data_loss(std::string(label) + ", offset " + std::to_string(offset) + ": " + what, "use counters");
}

Status check_frame(std::span<const std::byte> bytes, std::uint64_t weights_id, std::string_view label) {
  if (bytes.size() < kHeader + kTail) return damaged(label, bytes.size(), "ends inside the header");
  if (std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) return damaged(label, 0, "does not say FGCOUNTS");
  if (const auto version = number_at<std::uint32_t>(bytes, 8); version != kUseCountersVersion) {
    return unimplemented(std::string(label) + " has version " + std::to_string(version) + ", this program reads " +
                             std::to_string(kUseCountersVersion),
                         "use counters");
  }
  const std::size_t body = bytes.size() - kTail;
  if (checksum(bytes.first(body)) != number_at<std::uint64_t>(bytes, body)) {
    return damaged(label, body, "the checksum differs");
  }
  if (const auto id = number_at<std::uint64_t>(bytes, 16); id != weights_id) {
    return invalid_argument(
        std::string(label) + " is of weights " + checksum_text(id) + ", the model is " + checksum_text(weights_id),
        "use counters");
  }
  return {};
}

}  // namespace

std::vector<std::byte> write_use_counters(const UseCounters& counters, std::uint64_t weights_id) {
  std::vector<std::byte> bytes;
  for (const char c : kMagic) bytes.push_back(static_cast<std::byte>(c));
  append_number(bytes, kUseCountersVersion);
  append_number(bytes, static_cast<std::uint32_t>(counters.rates.size()));
  append_number(bytes, weights_id);
  for (const std::vector<float>& layer : counters.rates) {
    append_number(bytes, static_cast<std::uint32_t>(layer.size()));
    for (const float rate : layer) append_number(bytes, rate);
  }
  append_number(bytes, checksum(bytes));
  return bytes;
}

Result<UseCounters> read_use_counters(std::span<const std::byte> bytes, std::uint64_t weights_id,
                                      std::string_view label) {
  RETURN_IF_ERROR(check_frame(bytes, weights_id, label));
  const std::size_t end = bytes.size() - kTail;
  const auto layers = number_at<std::uint32_t>(bytes, 12);
  if (layers > kMaxCountedLayers) return damaged(label, 12, std::to_string(layers) + " layers");
  UseCounters counters;
  std::size_t at = kHeader;
  for (std::uint32_t i = 0; i < layers; ++i) {
    if (end - at < 4) return damaged(label, at, "ends before layer " + std::to_string(i));
    const auto experts = number_at<std::uint32_t>(bytes, at);
    if (experts > kMaxCountedExperts || (end - at - 4) / 4 < experts) {
      return damaged(label, at, std::to_string(experts) + " experts in layer " + std::to_string(i));
    }
    at += 4;
    std::vector<float>& layer = counters.rates.emplace_back(experts);
    for (float& rate : layer) {
      rate = number_at<float>(bytes, at);
      if (!std::isfinite(rate) || rate < 0) return damaged(label, at, "a rate is negative or not finite");
      at += 4;
    }
  }
  if (at != end) return damaged(label, at, std::to_string(end - at) + " bytes too many");
  return counters;
}

}  // namespace foregate
