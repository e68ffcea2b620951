// Times a model's forward pass without server or scheduler: prefill of whole prompts and lock-step
// decode of a batch. What `foregate bench` prints.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model.h"

namespace foregate {

struct BenchShape {
  std::int32_t batch = 1;
  std::int32_t prompt_tokens = 512;     // of each sequence
  std::int32_t generated_tokens = 128;  // of each sequence
  std::int32_t chunk_tokens = 512;      // rows of one prefill step
};

// One repetition. Bytes are weights plus keys and values read.
struct BenchSample {
  double prefill_seconds = 0.0;
  double decode_seconds = 0.0;
  double prefill_bytes = 0.0;
  double decode_bytes = 0.0;
};

// Drives one model over a cache of its own. Not thread-safe.
class BenchRun {
 public:
  static Result<BenchRun> create(Model& model, Device& device, const BenchShape& shape);
  Result<BenchSample> repeat(std::uint64_t seed);

 private:
  BenchRun(Model& model, KvCache cache, const BenchShape& shape);
  Status step(std::int32_t first_seq, std::int32_t num_seqs, std::int32_t position, std::int32_t rows,
              std::uint64_t seed);
  Status prefill(std::uint64_t seed);
  Status decode(std::uint64_t seed);
  double kv_bytes(std::int64_t positions) const;

  Model* model_;
  KvCache cache_;
  BenchShape shape_;
  std::int32_t blocks_per_seq_ = 0;
  std::vector<std::int32_t> tables_;  // [batch, blocks_per_seq]
  std::vector<float> logits_;
  double kv_bytes_read_ = 0.0;
};

}  // namespace foregate
