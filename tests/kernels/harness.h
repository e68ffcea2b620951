// Shared helpers of the kernel tests: seeded inputs, packed weights, paged sequences, comparisons.
// Everything is deterministic in its seed. One test thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/api/op_table.h"
#include "kernels/registry/registry.h"

namespace foregate::testing {

using Floats = std::vector<float>;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();                                       // SplitMix64
  std::int32_t below(std::int32_t bound);                     // [0, bound)
  std::int32_t between(std::int32_t low, std::int32_t high);  // [low, high]
  float uniform();                                            // [-1, 1)
  Floats floats(std::int64_t count, float scale = 1.0f);
  std::uint64_t& state() { return state_; }  // all there is of it
  template <class T>
  T pick(const std::vector<T>& options) {
    return options[static_cast<std::size_t>(below(static_cast<std::int32_t>(options.size())))];
  }

 private:
  std::uint64_t state_;
};

// A table with a stream to run it on.
struct Machine {
  Backend backend;
  std::unique_ptr<Stream> stream;
  Machine(const std::string& isa, int threads);
  const OpTable& ops() const { return backend.ops; }
};

std::vector<std::string> cpu_isas();  // runnable tables of kernels/cpu, best first

View2<const float> view(const Floats& values, std::int64_t cols);
View2<float> view(Floats& values, std::int64_t cols);

struct Packed {
  std::vector<std::byte> bytes;
  WeightFormat format = WeightFormat::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  PackedWeight weight() const { return {bytes.data(), format, rows, cols}; }
};
Packed packed(const Floats& values, std::int64_t rows, std::int64_t cols, WeightFormat format);
// Weights drawn once are kept: cases draw the same ones for every table, and quantizing them is what takes time.
Packed random_packed(Random& random, std::int64_t rows, std::int64_t cols, WeightFormat format);

// Sequences whose keys and values depend on (seed, sequence, position) only, laid out in shuffled
// pages of any block size. Slots nobody wrote hold NaN, and table entries below every window are
// wild, so that reading what must not be read shows.
struct PagedSetup {
  std::int32_t heads = 1;
  std::int32_t kv_heads = 1;
  std::int32_t head_dim = 16;
  std::int32_t block_size = 16;
  std::int32_t window = 0;
  DType type = DType::kF32;
  std::uint64_t seed = 1;
};
struct SpanSpec {
  std::int32_t sequence;  // names the data
  std::int32_t first_position;
  std::int32_t rows;
  std::int32_t tail = 0;  // so many of its last positions are where others of them would be
};
// Attention output rows of the spans, one after the other. Each span's keys up to its last row exist.
Floats attend(const OpTable& ops, Stream& stream, const PagedSetup& setup, const std::vector<SpanSpec>& spans);

// Expects every value within tolerance of `want`, relative to the largest magnitude of its row (and to 1e-30).
void expect_close(const Floats& got, const Floats& want, std::int64_t row_width, double tolerance,
                  const std::string& what);
// Index of the first value whose bits differ, -1 when none does (sizes must match).
std::int64_t first_difference(const Floats& a, const Floats& b);
void expect_same_bits(const Floats& got, const Floats& want, const std::string& what);

// Rows [first, first + count) of a row-major matrix.
Floats rows_of(const Floats& values, std::int64_t cols, std::int64_t first, std::int64_t count);

}  // namespace foregate::testing
