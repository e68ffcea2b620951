// Times a model's forward pass without server or scheduler: prefill of whole prompts and lock-step decode of a batch,
// both after so many tokens of context. What `foregate bench` prints.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/kv/kv_cache.h"
#include "engine/model/model.h"

namespace foregate {

// One test, of each sequence: first the prompt, then the generated tokens, either of which may be 0.
struct BenchTest {
  std::int32_t prompt_tokens = 512;
  std::int32_t generated_tokens = 0;
  std::int32_t batch = 1;           // sequences: prompts go one after another, decode steps take all at once
  std::int32_t depth = 0;           // tokens of context before the test
  std::int32_t chunk_tokens = 512;  // rows of one prefill step
  DType kv_type = DType::kF32;

  std::int64_t tokens() const { return std::int64_t{batch} * (prompt_tokens + generated_tokens); }
};

// One repetition. Bytes are weights plus keys and values read; rows are tokens that went through the layers, logits
// those of them that went through the vocabulary projection.
struct BenchSample {
  double seconds = 0.0;
  double bytes = 0.0;
  std::int64_t rows = 0;
  std::int64_t logits = 0;
};

// Drives one model over a cache of its own. Not thread-safe.
class BenchRun {
 public:
  // kInvalidArgument for a test without tokens, kResourceExhausted, with the numbers, when there is no memory for its
  // keys and values.
  static Result<BenchRun> create(Model& model, Device& device, const BenchTest& test);
  // Fills the cache up to the test's depth; a part of what follows, untimed, warms up, again and again while a store of
  // experts has empty slots.
  Status prepare(std::uint64_t seed, bool warm);
  Result<BenchSample> repeat(std::uint64_t seed);
  // Of the last step that computed any: [sequences of that step, vocab].
  const std::vector<float>& logits() const { return logits_; }

 private:
  BenchRun(Model& model, KvCache cache, const BenchTest& test);
  Status step(std::int32_t first_seq, std::int32_t num_seqs, std::int32_t position, std::int32_t rows,
              std::uint64_t seed, bool logits);
  Status warm_up(std::uint64_t seed);
  Status read_prompts(std::int32_t position, std::int32_t tokens, std::uint64_t seed);
  Status decode(std::int32_t position, std::int32_t tokens, std::uint64_t seed);
  double kv_bytes(std::int32_t position, std::int32_t rows) const;

  Model* model_;
  KvCache cache_;
  BenchTest test_;
  std::int32_t blocks_per_seq_ = 0;
  std::vector<std::int32_t> tables_;  // [batch, blocks_per_seq]
  std::vector<float> logits_;
  BenchSample counted_;  // of the repetition under way
};

}  // namespace foregate
