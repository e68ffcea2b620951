// Products with one matrix: linear, and the down half of experts.
#include "kernels/cuda/activate.cuh"
#include "kernels/cuda/tile_kernel.cuh"

namespace foregate::cuda {
namespace {

struct OneMatrix {
  ProductOutput output;

  __device__ __forceinline__ void put(std::int64_t n, std::int64_t i, const float (&sums)[1]) const {
    const std::int64_t row = output.y_rows != nullptr ? output.y_rows[i] : i;
    float* y = output.y.data + row * output.y.stride + n;
    float value = sums[0];
    if (output.bias != nullptr) value += output.bias[n];
    if (output.gate != nullptr) value *= activate(output.activation, output.gate[i * output.gate_stride + n]);
    if (output.accumulate) value += *y;
    *y = value;
  }
};

}  // namespace

void product(CudaStream& stream, WeightFormat format, const TileProducts& products, const ProductOutput& output) {
  launch_product<1>(stream, format, products, OneMatrix{output});
}

}  // namespace foregate::cuda
