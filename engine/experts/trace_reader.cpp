#include "engine/experts/trace_reader.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/base/checksum.h"
#include "engine/experts/byte_order.h"
#include "engine/experts/trace_format.h"

namespace foregate {
namespace {

constexpr std::uint32_t kMaxHeader = 64U << 20;

bool bit(std::span<const std::byte> bits, std::size_t i) {
  return (static_cast<unsigned>(bits[i / 8]) >> (i % 8) & 1U) != 0;
}

std::string text_at(std::span<const std::byte> bytes, std::size_t offset, std::size_t size) {
  std::string text(size, '\0');
  if (size > 0) std::memcpy(text.data(), bytes.data() + offset, size);
  return text;
}

}  // namespace

Status TraceReader::damaged(std::uint64_t offset, const std::string& what) const {
  return data_loss(file_->path() + ", offset " + std::to_string(offset) + ": " + what, "trace");
}

Result<TraceReader> TraceReader::open(const File& file) {
  TraceReader reader(file);
  RETURN_IF_ERROR(reader.read_header());
  return reader;
}

Status TraceReader::read_header() {
  std::array<std::byte, kTraceFixedHeader> fixed;
  if (file_->size() < fixed.size()) return damaged(file_->size(), "ends inside the header");
  RETURN_IF_ERROR(file_->read(0, fixed));
  if (std::memcmp(fixed.data(), kTraceMagic.data(), kTraceMagic.size()) != 0) {
    return damaged(0, "does not say FGROUTES: no trace");
  }
  if (const auto version = number_at<std::uint32_t>(fixed, 8); version != kTraceVersion) {
    return unimplemented(file_->path() + ", offset 8: trace version " + std::to_string(version) +
                             ", this program reads " + std::to_string(kTraceVersion),
                         "trace");
  }
  const auto size = number_at<std::uint32_t>(fixed, 12);
  if (size < kTraceFixedHeader + 8 || size > kMaxHeader || size > file_->size()) {
    return damaged(12, "a header of " + std::to_string(size) + " bytes");
  }
  std::vector<std::byte> header(size);
  RETURN_IF_ERROR(file_->read(0, header));
  if (checksum(std::span(header).first(size - 8)) != number_at<std::uint64_t>(header, size - 8)) {
    return damaged(size - 8, "the checksum of the header differs");
  }
  info_.weights_id = number_at<std::uint64_t>(header, 16);
  info_.slots = number_at<std::uint64_t>(header, 24);
  const auto model = number_at<std::uint32_t>(header, 40);
  const auto policy = number_at<std::uint32_t>(header, 44);
  if (model > kMaxTraceName || policy > kMaxTraceName || kTraceFixedHeader + model + policy > size - 8) {
    return damaged(40, "names of " + std::to_string(model) + " and " + std::to_string(policy) + " bytes");
  }
  info_.model = text_at(header, kTraceFixedHeader, model);
  info_.policy = text_at(header, kTraceFixedHeader + model, policy);
  offset_ = size;
  return read_layers(std::span(header).first(size - 8), kTraceFixedHeader + model + policy);
}

Status TraceReader::read_layers(std::span<const std::byte> header, std::size_t at) {
  const auto layers = number_at<std::uint32_t>(header, 32);
  const auto top_k = number_at<std::uint32_t>(header, 36);
  if (layers > kMaxTraceLayers || (header.size() - at) / 12 < layers) {
    return damaged(32, std::to_string(layers) + " layers");
  }
  if (top_k < 1 || top_k > kMaxTraceTopK) return damaged(36, "top_k is " + std::to_string(top_k));
  info_.top_k = static_cast<std::int32_t>(top_k);
  for (std::uint32_t i = 0; i < layers; ++i, at += 12) {
    const auto experts = number_at<std::uint32_t>(header, at);
    if (experts > kMaxTraceExperts || (experts > 0 && experts < top_k)) {
      return damaged(at, "layer " + std::to_string(i) + " has " + std::to_string(experts) + " experts");
    }
    info_.experts.push_back(static_cast<std::int32_t>(experts));
    info_.expert_bytes.push_back(number_at<std::uint64_t>(header, at + 4));
  }
  for (std::int32_t i = 0; i < static_cast<std::int32_t>(layers); ++i) {
    const auto experts = static_cast<std::size_t>(info_.experts[static_cast<std::size_t>(i)]);
    const std::size_t bytes = bytes_of_bits(experts);
    if (header.size() - at < bytes) return damaged(at, "ends before the experts in memory");
    for (std::size_t e = 0; e < experts; ++e) {
      if (bit(header.subspan(at, bytes), e)) info_.resident.push_back({LayerId{i}, ExpertId{static_cast<int>(e)}});
    }
    at += bytes;
  }
  return read_counters(header, at);
}

Status TraceReader::read_counters(std::span<const std::byte> header, std::size_t at) {
  if (header.size() - at < 4) return damaged(at, "ends before the use counters");
  const auto counted = number_at<std::uint32_t>(header, at);
  if (counted > 1) return damaged(at, "use counters of kind " + std::to_string(counted));
  at += 4;
  for (std::size_t i = 0; counted == 1 && i < info_.experts.size(); ++i) {
    const auto experts = static_cast<std::size_t>(info_.experts[i]);
    if ((header.size() - at) / 4 < experts) return damaged(at, "ends inside the use counters");
    std::vector<float>& rates = info_.counters.rates.emplace_back();
    for (std::size_t e = 0; e < experts; ++e, at += 4) {
      rates.push_back(number_at<float>(header, at));
      if (!std::isfinite(rates.back()) || rates.back() < 0) return damaged(at, "a rate is negative or not finite");
    }
  }
  return at == header.size() ? Status() : damaged(at, "the header is longer than what it says");
}

Result<bool> TraceReader::next(TraceStep& step) {
  if (ended_) return false;
  std::array<std::byte, kTraceFrameHeader> header;
  if (file_->size() - offset_ < header.size()) return damaged(offset_, "the file stops without its end");
  RETURN_IF_ERROR(file_->read(offset_, header));
  const auto kind = number_at<std::uint32_t>(header, 0);
  const auto size = number_at<std::uint32_t>(header, 4);
  if (kind != kTraceStepFrame && kind != kTraceEndFrame) return damaged(offset_, "frame " + std::to_string(kind));
  if (size > kMaxTracePayload || size > file_->size() - offset_ - header.size()) {
    return damaged(offset_ + 4, "a frame of " + std::to_string(size) + " bytes, the file has " +
                                    std::to_string(file_->size() - offset_ - header.size()) + " more");
  }
  payload_.resize(size);
  RETURN_IF_ERROR(file_->read(offset_ + header.size(), payload_));
  if (checksum(payload_) != number_at<std::uint64_t>(header, 8)) {
    return damaged(offset_ + 8, "the checksum of step " + std::to_string(steps_) + " differs");
  }
  if (kind == kTraceEndFrame) {
    RETURN_IF_ERROR(check_end());
    ended_ = true;
    return false;
  }
  RETURN_IF_ERROR(parse_step(step));
  offset_ += header.size() + size;
  last_step_ = step.step;
  ++steps_;
  return true;
}

Status TraceReader::check_end() const {
  const std::uint64_t at = offset_ + kTraceFrameHeader;
  if (payload_.size() != 8 || number_at<std::uint64_t>(payload_, 0) != static_cast<std::uint64_t>(steps_)) {
    return damaged(at, "the end is not one of " + std::to_string(steps_) + " steps");
  }
  return at + 8 == file_->size() ? Status() : damaged(at + 8, "bytes behind the end");
}

Status TraceReader::parse_step(TraceStep& step) const {
  const std::uint64_t base = offset_ + kTraceFrameHeader;
  if (payload_.size() < kTraceStepHeader)
    return damaged(base, "a step of " + std::to_string(payload_.size()) + " bytes");
  step.step = number_at<std::int64_t>(payload_, 0);
  const auto phase = number_at<std::uint32_t>(payload_, 8);
  const std::size_t rows = number_at<std::uint32_t>(payload_, 12);
  const std::size_t layers = number_at<std::uint32_t>(payload_, 16);
  if (step.step <= last_step_) return damaged(base, "step " + std::to_string(step.step) + " is out of order");
  if (phase > 1) return damaged(base + 8, "phase " + std::to_string(phase));
  if (rows == 0 || rows > kMaxTraceRows) return damaged(base + 12, std::to_string(rows) + " rows");
  const std::size_t layer_bytes = trace_layer_bytes(rows * static_cast<std::size_t>(info_.top_k));
  if (layers > info_.experts.size() ||
      payload_.size() != kTraceStepHeader + trace_rows_bytes(rows) + layers * layer_bytes) {
    return damaged(base + 16, std::to_string(layers) + " layers of " + std::to_string(rows) + " rows in " +
                                  std::to_string(payload_.size()) + " bytes");
  }
  step.phase = static_cast<UsePhase>(phase);
  const auto marks = [&](std::size_t which, std::vector<std::uint8_t>& out) {
    const auto bits = std::span(payload_).subspan(kTraceStepHeader + trace_marks(rows, which), bytes_of_bits(rows));
    out.resize(rows);
    for (std::size_t i = 0; i < rows; ++i) out[i] = bit(bits, i) ? 1 : 0;
  };
  marks(0, step.prompt);
  marks(1, step.drafted);
  marks(2, step.stood);
  step.requests.resize(rows);
  step.positions.resize(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    step.requests[i] = number_at<std::uint64_t>(payload_, kTraceStepHeader + i * 12);
    step.positions[i] = number_at<std::int32_t>(payload_, kTraceStepHeader + i * 12 + 8);
    if (step.drafted[i] != 0 && step.prompt[i] != 0) return damaged(base, "a row of a prompt and of a draft");
    if (step.stood[i] != 0 && step.drafted[i] == 0) return damaged(base, "a row stood that is of no draft");
  }
  const bool prompt = std::count(step.prompt.begin(), step.prompt.end(), 1) > 0;
  if (prompt != (step.phase == UsePhase::kPrefill)) return damaged(base + 8, "the phase is not that of the rows");
  step.layers.resize(layers);
  std::int32_t last = -1;
  for (std::size_t i = 0; i < layers; ++i) {
    const std::size_t at = kTraceStepHeader + trace_rows_bytes(rows) + i * layer_bytes;
    RETURN_IF_ERROR(parse_layer(at, rows, step.layers[i]));
    if (step.layers[i].layer.value <= last) return damaged(base + at, "a layer out of order");
    last = step.layers[i].layer.value;
  }
  return {};
}

Status TraceReader::parse_layer(std::size_t at, std::size_t rows, TraceLayer& layer) const {
  const std::uint64_t base = offset_ + kTraceFrameHeader;
  const auto number = number_at<std::uint32_t>(payload_, at);
  const auto flags = number_at<std::uint32_t>(payload_, at + 4);
  if (number >= info_.experts.size()) return damaged(base + at, "layer " + std::to_string(number));
  if (flags > 3) return damaged(base + at + 4, "flags " + std::to_string(flags));
  layer.layer = LayerId{static_cast<std::int32_t>(number)};
  layer.streamed = (flags & 1) != 0;
  layer.reads_ahead = (flags & 2) != 0;
  const std::size_t count = rows * static_cast<std::size_t>(info_.top_k);
  const std::size_t ids = at + kTraceLayerHeader;
  const std::size_t weights = ids + count * 2;
  const std::span<const std::byte> bits = std::span(payload_).subspan(weights + count * 4, bytes_of_bits(count));
  layer.ids.resize(count);
  layer.weights.resize(count);
  layer.resident.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    layer.ids[i] = number_at<std::uint16_t>(payload_, ids + i * 2);
    layer.weights[i] = number_at<float>(payload_, weights + i * 4);
    layer.resident[i] = bit(bits, i) ? 1 : 0;
    if (layer.ids[i] >= info_.experts[number]) {
      return damaged(base + ids + i * 2,
                     "layer " + std::to_string(number) + " has no expert " + std::to_string(layer.ids[i]));
    }
  }
  return {};
}

}  // namespace foregate
