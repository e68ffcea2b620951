#include "engine/model/device_exchange.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "engine/model/moe_block.h"

namespace foregate {
namespace {

// A row goes to a rank once, and to no more ranks than it has experts.
std::int64_t most_sent(const ModelConfig& config, std::int32_t max_rows, std::int32_t ranks) {
  return std::int64_t{max_rows} * std::min(config.router.top_k, ranks - 1);
}

std::int64_t most_outputs(const ModelConfig& config, std::int32_t max_rows) {
  return std::int64_t{max_rows} * config.router.top_k;
}

}  // namespace

std::int64_t DeviceExchange::bytes_for(const ModelConfig& config, std::int32_t max_rows, std::int32_t ranks) {
  const std::int64_t rows = most_sent(config, max_rows, ranks) + most_outputs(config, max_rows);
  return rows * config.hidden_size * static_cast<std::int64_t>(sizeof(float));
}

Result<std::unique_ptr<DeviceExchange>> DeviceExchange::create(const ModelConfig& config, std::int32_t max_rows,
                                                               std::int32_t ranks, Device& device) {
  std::unique_ptr<DeviceExchange> made(new DeviceExchange(config.hidden_size));
  const auto take = [&](std::int64_t rows) {
    return device.allocate(static_cast<std::size_t>(rows * config.hidden_size) * sizeof(float));
  };
  const std::int64_t sent = most_sent(config, max_rows, ranks);
  const std::int64_t outputs = most_outputs(config, max_rows);
  if (sent > 0) made->sent_ = take(sent);
  made->outputs_ = take(outputs);
  if ((sent > 0 && !made->sent_) || !made->outputs_) {
    return resource_exhausted("no device memory for " + std::to_string(bytes_for(config, max_rows, ranks)) +
                              " bytes of rows that ranks exchange");
  }
  made->at_.resize(static_cast<std::size_t>(outputs));
  made->identity_.resize(static_cast<std::size_t>(outputs));
  std::iota(made->identity_.begin(), made->identity_.end(), 0);
  return made;
}

void DeviceExchange::begin() {
  sent_rows_.clear();
  placed_ = 0;
}

const float* DeviceExchange::add(std::span<const std::int32_t> rows) {
  const float* const at = floats(sent_) + static_cast<std::int64_t>(sent_rows_.size()) * hidden_;
  sent_rows_.insert(sent_rows_.end(), rows.begin(), rows.end());
  return at;
}

void DeviceExchange::gather(const Step& step) {
  const auto rows = static_cast<std::int64_t>(sent_rows_.size());
  if (rows == 0) return;
  step.ops.gather_rows(
      step.stream,
      GatherRowsArgs{.x = step.block_in(), .rows = sent_rows_.data(), .out = {floats(sent_), rows, hidden_, hidden_}});
}

const std::byte* DeviceExchange::bring(const Step& step) {
  brought_.resize(sent_rows_.size() * static_cast<std::size_t>(hidden_) * sizeof(float));
  step.stream.download(brought_.data(), sent_.data(), brought_.size());
  step.stream.synchronize();
  return brought_.data();
}

std::size_t DeviceExchange::offset_of(const float* rows) const {
  return static_cast<std::size_t>(rows - floats(sent_)) * sizeof(float);
}

float* DeviceExchange::place(std::span<const std::int32_t> out_rows) {
  float* const at = floats(outputs_) + placed_ * hidden_;
  for (const std::int32_t row : out_rows) at_[static_cast<std::size_t>(row)] = placed_++;
  return at;
}

void DeviceExchange::run(const Step& step, std::span<ExpertGroup> groups) {
  for (ExpertGroup& group : groups) {
    const std::int32_t first = placed_;
    place({group.out_rows, static_cast<std::size_t>(group.rows)});
    group.out_rows = identity_.data() + first;
  }
  run_groups(step.ops, step.stream, step.config.activation, step.block_in(),
             {floats(outputs_), static_cast<std::int64_t>(identity_.size()), hidden_, hidden_}, step.scratch.ffn_inner,
             groups);
}

void DeviceExchange::finish(const Step& step) {
  const std::int64_t rows = step.rows * step.config.router.top_k;
  step.ops.gather_rows(step.stream, GatherRowsArgs{.x = {floats(outputs_), rows, hidden_, hidden_},
                                                   .rows = at_.data(),
                                                   .out = {step.scratch.expert_out, rows, hidden_, hidden_}});
}

}  // namespace foregate
