#include "tools/foregate/bench_run.h"

#include <numeric>

#include "engine/base/clock.h"
#include "engine/base/rng.h"

namespace foregate {
namespace {

constexpr std::int32_t kBlockSize = 16;

}  // namespace

BenchRun::BenchRun(Model& model, KvCache cache, const BenchShape& shape)
    : model_(&model), cache_(std::move(cache)), shape_(shape) {
  blocks_per_seq_ = static_cast<std::int32_t>(cache_.num_blocks() / shape.batch);
  tables_.resize(static_cast<std::size_t>(cache_.num_blocks()));
  std::iota(tables_.begin(), tables_.end(), 0);
  logits_.resize(static_cast<std::size_t>(shape.batch) * static_cast<std::size_t>(model.vocab_size()));
}

Result<BenchRun> BenchRun::create(Model& model, Device& device, const BenchShape& shape) {
  const std::int64_t positions = shape.prompt_tokens + shape.generated_tokens;
  const std::int64_t blocks = (positions + kBlockSize - 1) / kBlockSize * shape.batch;
  ASSIGN_OR_RETURN(KvCache cache, KvCache::create(device, model.kv_layout(DType::kF32, kBlockSize), blocks));
  return BenchRun(model, std::move(cache), shape);
}

double BenchRun::kv_bytes(std::int64_t positions) const {
  return static_cast<double>(cache_.layout().block_bytes()) / kBlockSize * static_cast<double>(positions);
}

// `rows` tokens from `position` on, of each of `num_seqs` sequences.
Status BenchRun::step(std::int32_t first_seq, std::int32_t num_seqs, std::int32_t position, std::int32_t rows,
                      std::uint64_t seed) {
  std::vector<Token> tokens;
  std::vector<std::int32_t> positions;
  std::vector<std::int64_t> slots;
  std::vector<SeqSpan> seqs;
  std::vector<std::int32_t> logit_rows;
  for (std::int32_t s = first_seq; s < first_seq + num_seqs; ++s) {
    const std::int32_t* table = tables_.data() + static_cast<std::ptrdiff_t>(s) * blocks_per_seq_;
    seqs.push_back({static_cast<std::int32_t>(tokens.size()), rows, position, table});
    for (std::int32_t p = position; p < position + rows; ++p) {
      const double draw = uniform01(seed, static_cast<std::uint64_t>(s), static_cast<std::uint64_t>(p));
      tokens.push_back(static_cast<Token>(draw * model_->vocab_size()));
      positions.push_back(p);
      slots.push_back(static_cast<std::int64_t>(table[p / kBlockSize]) * kBlockSize + p % kBlockSize);
    }
    logit_rows.push_back(static_cast<std::int32_t>(tokens.size()) - 1);
    kv_bytes_read_ += kv_bytes(position + rows);
  }
  const View2<float> logits{logits_.data(), num_seqs, model_->vocab_size(), model_->vocab_size()};
  return model_->forward({tokens, positions, slots, seqs, logit_rows}, cache_, logits);
}

Status BenchRun::prefill(std::uint64_t seed) {
  for (std::int32_t s = 0; s < shape_.batch; ++s) {
    for (std::int32_t p = 0; p < shape_.prompt_tokens; p += shape_.chunk_tokens) {
      RETURN_IF_ERROR(step(s, 1, p, std::min(shape_.chunk_tokens, shape_.prompt_tokens - p), seed));
    }
  }
  return {};
}

Status BenchRun::decode(std::uint64_t seed) {
  for (std::int32_t i = 0; i < shape_.generated_tokens; ++i) {
    RETURN_IF_ERROR(step(0, shape_.batch, shape_.prompt_tokens + i, 1, seed));
  }
  return {};
}

Result<BenchSample> BenchRun::repeat(std::uint64_t seed) {
  BenchSample sample;
  const auto timed = [this](Status (BenchRun::*phase)(std::uint64_t), std::uint64_t phase_seed, double* seconds,
                            double* bytes) {
    kv_bytes_read_ = 0.0;
    const std::uint64_t weights = model_->weight_bytes_read();
    const TimeNs start = system_clock().now();
    const Status status = (this->*phase)(phase_seed);
    *seconds = seconds_between(start, system_clock().now());
    *bytes = static_cast<double>(model_->weight_bytes_read() - weights) + kv_bytes_read_;
    return status;
  };
  RETURN_IF_ERROR(timed(&BenchRun::prefill, seed, &sample.prefill_seconds, &sample.prefill_bytes));
  RETURN_IF_ERROR(timed(&BenchRun::decode, seed, &sample.decode_seconds, &sample.decode_bytes));
  return sample;
}

}  // namespace foregate
