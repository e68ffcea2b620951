// A model that somebody else owns, for engines that come and go around it.
#pragma once

#include "engine/model/model.h"

namespace foregate::testing_support {

class BorrowedModel final : public Model {
 public:
  explicit BorrowedModel(Model& model) : model_(model) {}
  Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) override {
    return model_.forward(input, cache, logits);
  }
  void foresee(std::span<const Token> tokens) override { model_.foresee(tokens); }
  void drafts_stood(std::span<const std::int32_t> stood, std::span<const std::int32_t> places) override {
    model_.drafts_stood(stood, places);
  }
  ElasticSlots* elastic_slots() override { return model_.elastic_slots(); }
  std::int32_t vocab_size() const override { return model_.vocab_size(); }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override { return model_.kv_layout(type, block_size); }

 private:
  Model& model_;
};

}  // namespace foregate::testing_support
