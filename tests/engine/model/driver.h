// Drives Transformer::forward() without scheduler or block pool: a trivial block table per
// sequence, any chunking, any mix of sequences in a step.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/kv/kv_cache.h"
#include "engine/model/transformer.h"
#include "kernels/registry/registry.h"

namespace foregate {

struct DriverOptions {
  std::string isa = "ref";
  std::string cuda_module = {};   // computes on the GPU of this module; weights are packed by `isa`
  std::int64_t library_rows = 0;  // GpuChoice::library_rows
  int threads = 1;
  std::int32_t block_size = 16;
  std::int32_t blocks = 64;
  DType kv_type = DType::kF32;
  std::int32_t max_batched_tokens = 256;
  std::string quantization = "none";
  void (*edit_ops)(OpTable&) = nullptr;       // to break an op on purpose
  const FileSystem* files = nullptr;          // where the model is; null: the disk
  std::optional<ExpertLoading> experts = {};  // none: all in memory, but in the flavour evict-at-release
  std::optional<DenseLoading> dense = {};     // none: all in memory
  LookaheadOptions lookahead = {};            // of experts in a store
  bool eager = false;                         // every op is given to the device by itself
  ExpertRanks* ranks = nullptr;               // that share the experts; null: all are here
  ExchangeMode exchange = ExchangeMode::kTwoAllToAlls;
  OverlapMode overlap = OverlapMode::kOff;
  std::int64_t least_part_bytes = 1;  // of an exchange in parts: as many parts as there may be
};

class Driver {
 public:
  // Stops the test program with the message when the model does not load.
  Driver(const std::string& dir, const DriverOptions& options);

  // A part of a step: the next tokens of one sequence.
  struct Part {
    int sequence = 0;
    std::vector<Token> tokens;
  };

  int add_sequence();
  void reset();  // forgets all sequences
  // Logits of every row, in the order of the parts.
  std::vector<std::vector<float>> step(const std::vector<Part>& parts);
  // As forward() fails; the sequences must be reset then.
  Result<std::vector<std::vector<float>>> try_step(const std::vector<Part>& parts);
  // Runs `tokens` on a fresh sequence in chunks; logits of every position.
  std::vector<std::vector<float>> run(const std::vector<Token>& tokens, std::size_t chunk);
  Result<std::vector<std::vector<float>>> try_run(const std::vector<Token>& tokens, std::size_t chunk);

  Transformer& model() { return *model_; }
  const Device& device() const { return *backend_.device; }
  KvCache& cache() { return *cache_; }

 private:
  struct Sequence {
    std::vector<std::int32_t> blocks;
    std::int32_t length = 0;
  };
  std::int32_t take_block();
  std::optional<ExpertLoading> experts(const OpenModel& model);

  DriverOptions options_;
  Backend host_;  // packs for a GPU
  Backend backend_;
  Backend background_;
  std::unique_ptr<PinnedMemory> pinned_;  // of a store, in front of which a GPU is
  std::unique_ptr<Stream> host_stream_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Stream> background_stream_;
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<KvCache> cache_;
  std::vector<Sequence> sequences_;
  std::int32_t blocks_taken_ = 0;
};

// `count` tokens after the prompt, each the one with the largest logit.
std::vector<Token> greedy_tokens(Driver& driver, const std::vector<Token>& prompt, std::size_t count);

std::string golden_dir(const std::string& name);
std::string demo_dir();  // models/demo
std::vector<std::string> golden_names();
// Those whose checkpoint is quantized: quantized/NAME.
std::vector<std::string> quantized_names();  // every directory of tests/golden with reference logits
// The models of tests/golden/gguf, named as the directories of tests/golden that they were made from, and their paths.
std::vector<std::string> gguf_fixture_names();
std::string gguf_fixture(const std::string& name);

// Reads a whole tensor of a fixture as T (float or std::int32_t); stops the program on failure.
template <class T>
std::vector<T> read_tensor(const TensorIndex& index, const std::string& name) {
  const TensorEntry* entry = index.find(name);
  CHECK(entry != nullptr);
  std::vector<T> values(entry->bytes / sizeof(T));
  CHECK(index.read(*entry, 0, std::as_writable_bytes(std::span(values))).ok());
  return values;
}

}  // namespace foregate
