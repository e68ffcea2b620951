// Products of many rows by cuBLASLt. Weights come as plain rows of bf16, cut from the interleaved layout a slice at a
// time; activations as two bf16 parts whose sum is the f32 value to 2^-18 of it, so that nothing but the order of f32
// sums differs from the kernels here: y = low * W^T, then y += high * W^T (f16 weights are two parts too: a third one).
// Blocks never share a sum (no split K), so a result is the same whenever it is computed with the same number of rows.
//
// One per device, shared by its streams; any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/api/args_dense.h"
#include "kernels/api/device.h"
#include "kernels/cuda/cublaslt_calls.h"

namespace foregate {

class CudaStream;

struct LibraryRule {
  std::string library = {};                             // empty: the system's
  std::int64_t least_rows = 256;                        // fewer do not pay for cutting the weights
  std::size_t slice_bytes = std::size_t{64} << 20;      // of weights that are plain at a time
  std::size_t workspace_bytes = std::size_t{32} << 20;  // of the library itself
};

class LibraryProducts {
 public:
  // Null with *error where there is no library or it does not start.
  static std::unique_ptr<LibraryProducts> open(const LibraryRule& rule, std::string* error);
  ~LibraryProducts();
  LibraryProducts(const LibraryProducts&) = delete;
  LibraryProducts& operator=(const LibraryProducts&) = delete;

  // Enough rows, of weights that are bf16 parts without loss.
  bool takes(std::int64_t rows, WeightFormat format) const {
    return rows >= rule_.least_rows && (format == WeightFormat::kBF16 || format == WeightFormat::kF16);
  }
  // False when the rule says no, or the library knows no way (counted): then nothing was done.
  bool linear(CudaStream& stream, const LinearArgs& args);
  // y = x * weights^T of plain rows in bf16, `k` columns: the library alone. False where it knows no way.
  bool plain(CudaStream& stream, const void* weights, const void* x, View2<float> y, std::int64_t k);
  // Bytes that linear() reserves at most, for so many rows and matrices of so many columns and outputs.
  std::size_t workspace_bytes(std::int64_t rows, std::int64_t cols, std::int64_t outputs) const;

  const LibraryRule& rule() const { return rule_; }
  std::string version() const;
  LibraryFigures figures() const { return {products_.load(), refused_.load(), plans_made_.load()}; }

 private:
  // What the library needs to know of one shape; stays where it is, graphs compare its address.
  struct Plan {
    LtDesc desc = nullptr;
    std::array<LtLayout, 3> layouts = {};  // weights, activations, y
    LtAlgo algo = {};
    std::size_t workspace_bytes = 0;
    bool good = false;
  };
  struct Call;
  using Shape = std::array<std::int64_t, 5>;  // weight rows, columns, rows, stride of y, alignment of y

  LibraryProducts(const LtCalls& calls, const LibraryRule& rule) : calls_(calls), rule_(rule) {}
  std::int64_t slice_rows(std::int64_t cols, int parts) const;
  const Plan* plan(const Shape& shape);
  bool make(const Shape& shape, Plan& plan);
  bool choose(const Shape& shape, LtPreference preference, Plan& plan);
  static cudaError_t run(cudaStream_t stream, Call call);

  const LtCalls& calls_;
  const LibraryRule rule_;
  LtHandle handle_ = nullptr;
  std::mutex mutex_;
  std::map<Shape, std::unique_ptr<Plan>> plans_;
  std::atomic<std::uint64_t> products_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> plans_made_{0};
};

namespace cuda {

// plain_parts.cu. Columns from `cols` to `padded` are zeros.
// Rows first .. first + rows - 1 (multiples of 16 but for the last) of a bf16 or f16 matrix as plain rows in bf16;
// f16 weights: `high`, and what is left of them in `low`.
void plain_weights(CudaStream& stream, const PackedWeight& weight, std::int64_t first, std::int64_t rows,
                   std::int64_t padded, std::byte* high, std::byte* low);
void split_rows(CudaStream& stream, View2<const float> x, std::int64_t padded, std::byte* high, std::byte* low);
// y = bias, or y += bias
void start_with_bias(CudaStream& stream, const float* bias, View2<float> y, bool accumulate);

}  // namespace cuda
}  // namespace foregate
