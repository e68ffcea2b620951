#include "engine/model/host_experts.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "engine/model/moe_block.h"

namespace foregate {
namespace {

float* floats(const Memory& memory) {
  return reinterpret_cast<float*>(memory.data());
}

std::int64_t widest(const ModelConfig& config) {
  std::int64_t inner = 0;
  for (const LayerConfig& layer : config.layers) {
    if (layer.sparse) inner = std::max<std::int64_t>(inner, layer.ffn_intermediate);
  }
  return inner;
}

}  // namespace

Result<std::unique_ptr<HostExperts>> HostExperts::create(const ModelConfig& config, std::int32_t max_rows,
                                                         Device& memory, const OpTable& ops, Stream& stream) {
  std::unique_ptr<HostExperts> made(new HostExperts(ops, stream));
  const std::int64_t rows = max_rows;
  const std::int64_t assignments = rows * config.router.top_k;
  const auto take = [&memory](Memory& to, std::int64_t count) {
    to = memory.allocate(static_cast<std::size_t>(count) * sizeof(float));
    return static_cast<bool>(to);
  };
  const bool all = take(made->x_, rows * config.hidden_size) && take(made->y_, assignments * config.hidden_size) &&
                   take(made->inner_, assignments * widest(config)) && take(made->out_, rows * config.hidden_size);
  if (!all) return resource_exhausted("no host memory for experts of " + std::to_string(rows) + " rows");
  return made;
}

void HostExperts::bring_input(const Step& step) {
  const auto bytes = static_cast<std::size_t>(step.rows * step.config.hidden_size) * sizeof(float);
  step.stream.download(x_.data(), step.scratch.normed, bytes);
  step.stream.synchronize();
}

void HostExperts::run(const Step& step, std::span<ExpertGroup> groups) {
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t hidden = step.config.hidden_size;
  for (const ExpertGroup& group : groups) rows_.insert(rows_.end(), group.out_rows, group.out_rows + group.rows);
  run_groups(ops_, stream_, step.config.activation, {floats(x_), step.rows, hidden, hidden},
             {floats(y_), step.rows * step.config.router.top_k, hidden, hidden}, floats(inner_), groups);
  stream_.synchronize();
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Neighbouring rows go together.
void HostExperts::send(const Step& step) {
  std::sort(rows_.begin(), rows_.end());
  const std::int64_t hidden = step.config.hidden_size;
  for (std::size_t i = 0; i < rows_.size();) {
    std::size_t end = i + 1;
    while (end < rows_.size() && rows_[end] == rows_[end - 1] + 1) ++end;
    step.stream.upload(step.scratch.expert_out + rows_[i] * hidden, floats(y_) + rows_[i] * hidden,
                       (end - i) * static_cast<std::size_t>(hidden) * sizeof(float));
    i = end;
  }
  rows_.clear();
}

void HostExperts::combine(const Step& step) {
  const std::int64_t hidden = step.config.hidden_size;
  const std::int32_t top_k = step.config.router.top_k;
  ops_.moe_combine(stream_, MoeCombineArgs{.y = {floats(y_), step.rows * top_k, hidden, hidden},
                                           .weights = step.scratch.route.host_weights,
                                           .top_k = top_k,
                                           .out = {floats(out_), step.rows, hidden, hidden}});
  stream_.synchronize();
  step.stream.upload(step.scratch.delta, out_.data(), static_cast<std::size_t>(step.rows * hidden) * sizeof(float));
  rows_.clear();
}

}  // namespace foregate
