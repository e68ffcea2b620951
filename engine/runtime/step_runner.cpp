#include "engine/runtime/step_runner.h"

#include <exception>
#include <string>
#include <utility>

namespace foregate {

StepRunner::StepRunner(std::unique_ptr<Model> model, Device& device, KvCache cache)
    : model_(std::move(model)), device_(device), cache_(std::move(cache)), vocab_size_(model_->vocab_size()) {}

Status StepRunner::make_room(std::size_t rows) {
  const std::size_t row_bytes = static_cast<std::size_t>(vocab_size_) * sizeof(float);
  if (rows * row_bytes <= logits_.bytes()) return {};
  std::size_t capacity = 1;
  while (capacity < rows) capacity *= 2;
  logits_ = Memory();  // the old rows are not needed: free them before asking for more
  logits_ = device_.allocate_pinned(capacity * row_bytes);
  if (logits_) return {};
  return resource_exhausted("no memory for the logits of " + std::to_string(capacity) + " rows, " +
                            std::to_string(capacity * row_bytes) + " bytes");
}

Status StepRunner::run(StepIo& io) {
  io.sampled.assign(io.rules.size(), kNotSampled);
  RETURN_IF_ERROR(make_room(io.logit_rows.size()));
  View2<float> view;
  view.data = reinterpret_cast<float*>(logits_.data());
  view.rows = static_cast<std::int64_t>(io.logit_rows.size());
  view.cols = view.stride = vocab_size_;
  try {
    return model_->forward(io.input(), cache_, view);
  } catch (const std::exception& error) {
    return internal_error(std::string("the model threw: ") + error.what());
  }
}

std::span<const float> StepRunner::logits(std::int32_t row) const {
  const auto vocab = static_cast<std::size_t>(vocab_size_);
  const auto offset = static_cast<std::size_t>(row) * vocab;
  CHECK((offset + vocab) * sizeof(float) <= logits_.bytes());
  return {reinterpret_cast<const float*>(logits_.data()) + offset, vocab};
}

}  // namespace foregate
