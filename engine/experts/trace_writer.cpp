#include "engine/experts/trace_writer.h"

#include <algorithm>
#include <utility>

#include "engine/base/checksum.h"
#include "engine/experts/byte_order.h"
#include "engine/experts/trace_format.h"

namespace foregate {
namespace {

Status check_info(const TraceInfo& info) {
  const auto wrong = [](const std::string& what) { return invalid_argument("a trace takes " + what, "trace"); };
  if (info.experts.size() > kMaxTraceLayers) return wrong("at most " + std::to_string(kMaxTraceLayers) + " layers");
  if (info.expert_bytes.size() != info.experts.size()) return wrong("the bytes of an expert for every layer");
  if (info.top_k < 1 || info.top_k > static_cast<std::int32_t>(kMaxTraceTopK)) {
    return wrong("a top_k from 1 to " + std::to_string(kMaxTraceTopK));
  }
  for (const std::int32_t experts : info.experts) {
    if (experts < 0 || experts > static_cast<std::int32_t>(kMaxTraceExperts)) {
      return wrong("at most " + std::to_string(kMaxTraceExperts) + " experts in a layer");
    }
  }
  if (info.model.size() > kMaxTraceName || info.policy.size() > kMaxTraceName) {
    return wrong("names of at most " + std::to_string(kMaxTraceName) + " bytes");
  }
  for (const ExpertKey key : info.resident) {
    const auto layer = static_cast<std::size_t>(key.layer.value);
    if (layer >= info.experts.size() || key.expert.value < 0 || key.expert.value >= info.experts[layer]) {
      return wrong("resident experts that the layers have");
    }
  }
  bool same = info.counters.empty() || info.counters.rates.size() == info.experts.size();
  for (std::size_t i = 0; same && i < info.counters.rates.size(); ++i) {
    same = info.counters.rates[i].size() == static_cast<std::size_t>(info.experts[i]);
  }
  return same ? Status() : wrong("counters of the layers' experts");
}

void append_text(std::vector<std::byte>& bytes, std::string_view text) {
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
}

void append_resident(std::vector<std::byte>& bytes, const TraceInfo& info) {
  for (std::size_t i = 0; i < info.experts.size(); ++i) {
    std::vector<std::byte> bits(bytes_of_bits(static_cast<std::size_t>(info.experts[i])));
    for (const ExpertKey key : info.resident) {
      if (key.layer.value != static_cast<std::int32_t>(i)) continue;
      const auto expert = static_cast<std::size_t>(key.expert.value);
      bits[expert / 8] |= static_cast<std::byte>(1U << (expert % 8));
    }
    bytes.insert(bytes.end(), bits.begin(), bits.end());
  }
}

bool of_prompt(const LayerRoutes& routes, std::size_t row) {
  return routes.prompt.empty() ? routes.phase == UsePhase::kPrefill : routes.prompt[row] != 0;
}

std::vector<std::byte> make_header(const TraceInfo& info) {
  std::vector<std::byte> bytes;
  append_text(bytes, kTraceMagic);
  append_number(bytes, kTraceVersion);
  append_number(bytes, std::uint32_t{0});
  append_number(bytes, info.weights_id);
  append_number(bytes, info.slots);
  append_number(bytes, static_cast<std::uint32_t>(info.experts.size()));
  append_number(bytes, static_cast<std::uint32_t>(info.top_k));
  append_number(bytes, static_cast<std::uint32_t>(info.model.size()));
  append_number(bytes, static_cast<std::uint32_t>(info.policy.size()));
  append_text(bytes, info.model);
  append_text(bytes, info.policy);
  for (std::size_t i = 0; i < info.experts.size(); ++i) {
    append_number(bytes, static_cast<std::uint32_t>(info.experts[i]));
    append_number(bytes, info.expert_bytes[i]);
  }
  append_resident(bytes, info);
  append_number(bytes, std::uint32_t{info.counters.empty() ? 0U : 1U});
  for (const std::vector<float>& layer : info.counters.rates) {
    for (const float rate : layer) append_number(bytes, rate);
  }
  const auto size = static_cast<std::uint32_t>(bytes.size() + 8);
  std::memcpy(bytes.data() + 12, &size, sizeof size);
  append_number(bytes, checksum(bytes));
  return bytes;
}

}  // namespace

Result<TraceWriter> TraceWriter::create(std::unique_ptr<OutputFile> file, const TraceInfo& info) {
  RETURN_IF_ERROR(check_info(info));
  TraceWriter writer(std::move(file), info.top_k, info.experts);
  RETURN_IF_ERROR(writer.append(make_header(info)));
  return writer;
}

Status TraceWriter::append(std::span<const std::byte> bytes) {
  RETURN_IF_ERROR(file_->write(written_, bytes));
  written_ += bytes.size();
  return {};
}

Status TraceWriter::write_frame(std::uint32_t kind, std::span<const std::byte> payload) {
  std::vector<std::byte> header;
  append_number(header, kind);
  append_number(header, static_cast<std::uint32_t>(payload.size()));
  append_number(header, checksum(payload));
  RETURN_IF_ERROR(append(header));
  return append(payload);
}

Status TraceWriter::check(const LayerRoutes& routes) const {
  const auto wrong = [&](const std::string& what) {
    return internal_error("trace, step " + std::to_string(routes.step) + ", layer " +
                          std::to_string(routes.layer.value) + ": " + what);
  };
  const std::size_t rows = routes.requests.size();
  const std::size_t assignments = rows * static_cast<std::size_t>(top_k_);
  const bool next_step = !open_ || routes.step != step_;
  if (next_step ? routes.step <= step_ : routes.layer.value <= layer_ || rows != rows_) return wrong("out of order");
  if (rows == 0 || rows > kMaxTraceRows || routes.positions.size() != rows) return wrong("rows and positions differ");
  if (routes.ids.size() != assignments || routes.weights.size() != assignments ||
      (!routes.resident.empty() && routes.resident.size() != assignments)) {
    return wrong("not top_k experts per row");
  }
  const bool prompt = std::count(routes.prompt.begin(), routes.prompt.end(), 0) < static_cast<std::ptrdiff_t>(rows);
  if (!routes.prompt.empty() && (routes.prompt.size() != rows || prompt != (routes.phase == UsePhase::kPrefill))) {
    return wrong("rows of a prompt that are not as many, or not of the phase");
  }
  if (!routes.drafted.empty() && routes.drafted.size() != rows) return wrong("rows of drafts that are not as many");
  for (std::size_t i = 0; i < routes.drafted.size(); ++i) {
    if (routes.drafted[i] != 0 && of_prompt(routes, i)) return wrong("a row of a prompt and of a draft");
  }
  const auto layer = static_cast<std::size_t>(routes.layer.value);
  if (routes.layer.value < 0 || layer >= experts_.size()) return wrong("no such layer");
  for (const std::int32_t id : routes.ids) {
    if (id < 0 || id >= experts_[layer]) return wrong("no expert " + std::to_string(id));
  }
  const std::size_t before = next_step ? kTraceStepHeader + trace_rows_bytes(rows) : payload_.size();
  return before + trace_layer_bytes(assignments) <= kMaxTracePayload ? Status() : wrong("the step is too large");
}

Status TraceWriter::begin_step(const LayerRoutes& routes) {
  RETURN_IF_ERROR(end_step());
  open_ = true;
  step_ = routes.step;
  rows_ = routes.requests.size();
  append_number(payload_, routes.step);
  append_number(payload_, static_cast<std::uint32_t>(routes.phase));
  append_number(payload_, static_cast<std::uint32_t>(rows_));
  append_number(payload_, std::uint32_t{0});
  for (std::size_t i = 0; i < rows_; ++i) {
    append_number(payload_, routes.requests[i]);
    append_number(payload_, routes.positions[i]);
  }
  payload_.resize(payload_.size() + 3 * bytes_of_bits(rows_));
  for (std::size_t i = 0; i < rows_; ++i) {
    if (of_prompt(routes, i)) mark(i, 0);
    if (!routes.drafted.empty() && routes.drafted[i] != 0) mark(i, 1);
  }
  return {};
}

void TraceWriter::mark(std::size_t row, std::size_t which) {
  payload_[kTraceStepHeader + trace_marks(rows_, which) + row / 8] |= static_cast<std::byte>(1U << (row % 8));
}

void TraceWriter::on_drafts_stood(std::int64_t step, std::span<const std::uint8_t> stood) {
  if (!status_.ok() || !open_ || step != step_ || stood.size() != rows_) return;
  for (std::size_t i = 0; i < rows_; ++i) {
    const std::byte drafted = payload_[kTraceStepHeader + trace_marks(rows_, 1) + i / 8] >> (i % 8);
    if (stood[i] != 0 && (drafted & std::byte{1}) != std::byte{0}) mark(i, 2);
  }
}

Status TraceWriter::end_step() {
  if (!open_) return {};
  std::memcpy(payload_.data() + 16, &layers_, sizeof layers_);
  RETURN_IF_ERROR(write_frame(kTraceStepFrame, payload_));
  ++steps_;
  payload_.clear();
  open_ = false;
  layer_ = -1;
  layers_ = 0;
  return {};
}

void TraceWriter::on_routes(const LayerRoutes& routes) {
  if (!status_.ok()) return;
  status_ = check(routes);
  if (status_.ok() && (!open_ || routes.step != step_)) status_ = begin_step(routes);
  if (!status_.ok()) return;
  layer_ = routes.layer.value;
  ++layers_;
  append_number(payload_, static_cast<std::uint32_t>(routes.layer.value));
  append_number(payload_, std::uint32_t{(routes.streamed ? 1U : 0U) | (routes.reads_ahead ? 2U : 0U)});
  for (const std::int32_t id : routes.ids) append_number(payload_, static_cast<std::uint16_t>(id));
  for (const float weight : routes.weights) append_number(payload_, weight);
  std::vector<std::byte> bits(bytes_of_bits(routes.ids.size()));
  for (std::size_t i = 0; i < routes.ids.size(); ++i) {
    if (routes.resident.empty() || routes.resident[i] != 0) bits[i / 8] |= static_cast<std::byte>(1U << (i % 8));
  }
  payload_.insert(payload_.end(), bits.begin(), bits.end());
}

Status TraceWriter::finish() {
  if (status_.ok()) status_ = end_step();
  if (!status_.ok()) return status_;
  std::vector<std::byte> end;
  append_number(end, static_cast<std::uint64_t>(steps_));
  status_ = write_frame(kTraceEndFrame, end);
  if (status_.ok()) status_ = file_->resize(written_);
  if (status_.ok()) status_ = file_->sync();
  return status_;
}

}  // namespace foregate
