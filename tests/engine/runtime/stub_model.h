// A model whose logits are a hash of the whole token history, read back from the KV pages: any mixed
// up block, lost token or wrong rollback changes the answer. The right answer can be computed
// without an engine. Also wrappers around any Model: one records logits, others misbehave.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/api/engine.h"
#include "engine/model/model.h"
#include "kernels/api/device.h"

namespace foregate::testing_support {

class HostDevice final : public Device {
 public:
  std::string describe() const override { return "host memory"; }
  Memory allocate(std::size_t bytes) override;
  std::unique_ptr<Stream> create_stream() override { return nullptr; }
};

std::uint64_t mix_hash(std::uint64_t hash, std::uint64_t value);
// Logits that the stub gives after a history.
std::vector<float> stub_logits(std::uint64_t history_hash, std::int32_t vocab_size);
std::uint64_t history_hash(std::span<const Token> tokens);

class StubModel final : public Model {
 public:
  explicit StubModel(std::int32_t vocab_size) : vocab_size_(vocab_size) {}
  Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) override;
  std::int32_t vocab_size() const override { return vocab_size_; }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override;

 private:
  std::int32_t vocab_size_;
};

// Logits seen per token history, over any number of runs.
struct LogitRecord {
  std::shared_future<void> begin;  // no step runs before; none: at once
  std::mutex mutex;
  std::map<std::uint64_t, std::vector<float>> rows;
  std::int64_t repeats = 0;     // histories computed more than once
  std::int64_t mismatches = 0;  // of these, with other bytes
};

// Files every row of logits under the history it should have seen: the tokens of its request up to it. `requests` have
// one sample each; what a prompt holds is known from there, since a shared prefix is never computed.
class RecordingModel final : public Model {
 public:
  RecordingModel(std::unique_ptr<Model> inner, std::shared_ptr<LogitRecord> record,
                 const std::vector<Request>& requests);
  Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) override;
  void foresee(std::span<const Token> tokens) override { inner_->foresee(tokens); }
  void drafts_stood(std::span<const std::int32_t> stood, std::span<const std::int32_t> places) override;
  std::int32_t vocab_size() const override { return inner_->vocab_size(); }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override { return inner_->kv_layout(type, block_size); }
  void keep_routes() override { inner_->keep_routes(); }
  std::span<const std::int32_t> last_experts(std::uint64_t request) const override {
    return inner_->last_experts(request);
  }
  std::span<const std::uint8_t> resident_experts() override { return inner_->resident_experts(); }
  std::optional<ExpertFigures> expert_figures() const override { return inner_->expert_figures(); }
  ElasticSlots* elastic_slots() override { return inner_->elastic_slots(); }

 private:
  std::unique_ptr<Model> inner_;
  std::shared_ptr<LogitRecord> record_;
  std::map<std::uint64_t, std::vector<Token>> tokens_;  // by request
  struct Drafted {
    std::uint64_t request = 0;
    std::int32_t newest = 0;  // position that the draft follows
    Token token = 0;
  };
  std::vector<Drafted> drafted_;  // of the last step, where drafts are trees
};

// Runs `hook` around the inner model: to fail, to stall, or to change logits.
class HookedModel final : public Model {
 public:
  using Hook = std::function<Status(Model& inner, const ForwardInput&, KvCache&, View2<float>)>;
  HookedModel(std::unique_ptr<Model> inner, Hook hook) : inner_(std::move(inner)), hook_(std::move(hook)) {}
  Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) override {
    return hook_(*inner_, input, cache, logits);
  }
  void foresee(std::span<const Token> tokens) override { inner_->foresee(tokens); }
  void drafts_stood(std::span<const std::int32_t> stood, std::span<const std::int32_t> places) override {
    inner_->drafts_stood(stood, places);
  }
  std::int32_t vocab_size() const override { return inner_->vocab_size(); }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override { return inner_->kv_layout(type, block_size); }

 private:
  std::unique_ptr<Model> inner_;
  Hook hook_;
};

}  // namespace foregate::testing_support
