#include "engine/model/row_ops.h"

#include "engine/model/rope.h"

namespace foregate {

void add_and_norm(const Step& step, const float* weight, bool first) {
  const StepScratch& s = step.scratch;
  const std::int64_t cols = step.config.hidden_size;
  step.ops.rms_norm(step.stream, RmsNormArgs{.x = step.read(first ? s.hidden : s.delta, cols),
                                             .residual = first ? View2<float>{} : step.view(s.hidden, cols),
                                             .weight = weight,
                                             .eps = step.config.rms_norm_eps,
                                             .out = step.view(s.normed, cols)});
}

void load_ropes(const ModelConfig& config, const std::vector<std::vector<float>>& frequencies,
                std::span<const std::int32_t> positions, StepScratch& scratch, Stream& stream) {
  for (std::size_t rope = 0; rope < frequencies.size(); ++rope) {
    const std::size_t count = positions.size() * frequencies[rope].size();
    scratch.rope_values.resize(2 * count);
    float* const cos = scratch.rope_values.data();
    rope_rows(frequencies[rope], config.ropes[rope].magnitude, positions, cos, cos + count);
    stream.upload(scratch.cos[rope], cos, count * sizeof(float));
    stream.upload(scratch.sin[rope], cos + count, count * sizeof(float));
  }
}

std::vector<std::vector<float>> rope_frequencies_of(const ModelConfig& config) {
  std::vector<std::vector<float>> frequencies;
  for (const RopeConfig& rope : config.ropes) frequencies.push_back(rope_frequencies(rope));
  return frequencies;
}

}  // namespace foregate
