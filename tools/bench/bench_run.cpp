#include "tools/bench/bench_run.h"

#include <algorithm>
#include <numeric>

#include "engine/base/clock.h"
#include "engine/base/rng.h"
#include "engine/runtime/memory_budget.h"
#include "tools/bench/random_weights.h"

namespace foregate {
namespace {

constexpr std::int32_t kBlockSize = 16;
constexpr std::int32_t kWarmUpTokens = 4;      // of decode
constexpr std::int64_t kMostWarmUpRows = 512;  // to fill a store of experts

bool has_empty_slots(const Model& model) {
  const auto experts = model.expert_figures();
  return experts && experts->slots_used < experts->slots;
}

}  // namespace

BenchRun::BenchRun(Model& model, KvCache cache, const BenchTest& test)
    : model_(&model), cache_(std::move(cache)), test_(test) {
  blocks_per_seq_ = static_cast<std::int32_t>(cache_.num_blocks() / test.batch);
  tables_.resize(static_cast<std::size_t>(cache_.num_blocks()));
  std::iota(tables_.begin(), tables_.end(), 0);
  logits_.resize(static_cast<std::size_t>(test.batch) * static_cast<std::size_t>(model.vocab_size()));
}

Result<BenchRun> BenchRun::create(Model& model, Device& device, const BenchTest& test) {
  if (test.tokens() <= 0) return invalid_argument("a test needs prompt tokens or generated tokens");
  const KvLayout layout = model.kv_layout(test.kv_type, kBlockSize);
  const std::int64_t positions = std::int64_t{test.depth} + test.prompt_tokens + test.generated_tokens;
  const std::int64_t blocks = (positions + kBlockSize - 1) / kBlockSize * test.batch;
  const std::int64_t available = available_memory();
  if (available > 0 && blocks > available / layout.block_bytes()) {
    return resource_exhausted("the keys and values of " + std::to_string(test.batch) + " x " +
                              std::to_string(positions) + " tokens do not fit the " + std::to_string(available) +
                              " bytes available");
  }
  ASSIGN_OR_RETURN(KvCache cache, KvCache::create(device, layout, blocks));
  return BenchRun(model, std::move(cache), test);
}

// Of one sequence's rows from `position` on. A layer with a window reads no further back than that.
double BenchRun::kv_bytes(std::int32_t position, std::int32_t rows) const {
  const KvLayout& layout = cache_.layout();
  double bytes = 0.0;
  for (const LayerKv& layer : layout.layers) {
    const std::int32_t end = position + rows;
    const std::int32_t read = layer.window > 0 ? std::min(end, layer.window + rows - 1) : end;
    bytes += 2.0 * layer.kv_heads * static_cast<double>(kv_row_bytes(layout.type, layer.head_dim)) * read;
  }
  return bytes;
}

// `rows` tokens from `position` on, of each of `num_seqs` sequences; logits of the last ones.
Status BenchRun::step(std::int32_t first_seq, std::int32_t num_seqs, std::int32_t position, std::int32_t rows,
                      std::uint64_t seed, bool logits) {
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
    if (logits) logit_rows.push_back(static_cast<std::int32_t>(tokens.size()) - 1);
    counted_.bytes += kv_bytes(position, rows);
  }
  counted_.rows += static_cast<std::int64_t>(tokens.size());
  counted_.logits += static_cast<std::int64_t>(logit_rows.size());
  const View2<float> out{logits_.data(), static_cast<std::int64_t>(logit_rows.size()), model_->vocab_size(),
                         model_->vocab_size()};
  return model_->forward({tokens, positions, slots, seqs, logit_rows}, cache_, out);
}

// Logits of the last token alone, as a server needs them.
Status BenchRun::read_prompts(std::int32_t position, std::int32_t tokens, std::uint64_t seed) {
  for (std::int32_t s = 0; s < test_.batch; ++s) {
    for (std::int32_t done = 0; done < tokens; done += test_.chunk_tokens) {
      const std::int32_t rows = std::min(test_.chunk_tokens, tokens - done);
      RETURN_IF_ERROR(step(s, 1, position + done, rows, seed, done + rows == tokens));
    }
  }
  return {};
}

Status BenchRun::decode(std::int32_t position, std::int32_t tokens, std::uint64_t seed) {
  for (std::int32_t i = 0; i < tokens; ++i) RETURN_IF_ERROR(step(0, test_.batch, position + i, 1, seed, true));
  return {};
}

Status BenchRun::warm_up(std::uint64_t seed) {
  RETURN_IF_ERROR(read_prompts(test_.depth, std::min(test_.prompt_tokens, test_.chunk_tokens), seed));
  return decode(test_.depth + test_.prompt_tokens, std::min(test_.generated_tokens, kWarmUpTokens), seed);
}

// While a store of experts fills, tokens take other times than later.
Status BenchRun::prepare(std::uint64_t seed, bool warm) {
  RETURN_IF_ERROR(read_prompts(0, test_.depth, seed));
  if (!warm) return {};
  const std::int64_t before = counted_.rows;
  RETURN_IF_ERROR(warm_up(seed));
  for (std::uint64_t i = 1; counted_.rows - before < kMostWarmUpRows && has_empty_slots(*model_); ++i) {
    RETURN_IF_ERROR(warm_up(stream_seed(seed, i)));
  }
  return {};
}

Result<BenchSample> BenchRun::repeat(std::uint64_t seed) {
  counted_ = {};
  const std::uint64_t weights = model_->weight_bytes_read();
  const TimeNs start = system_clock().now();
  RETURN_IF_ERROR(read_prompts(test_.depth, test_.prompt_tokens, seed));
  RETURN_IF_ERROR(decode(test_.depth + test_.prompt_tokens, test_.generated_tokens, seed));
  counted_.seconds = seconds_between(start, system_clock().now());
  counted_.bytes += static_cast<double>(model_->weight_bytes_read() - weights);
  return counted_;
}

}  // namespace foregate
