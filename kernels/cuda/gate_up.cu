// Products with gate and up at once: a block keeps the sums of both for the same rows.
#include "kernels/cuda/activate.cuh"
#include "kernels/cuda/tile_kernel.cuh"

namespace foregate::cuda {
namespace {

struct GateUp {
  ProductOutput output;

  __device__ __forceinline__ void put(std::int64_t n, std::int64_t i, const float (&sums)[2]) const {
    output.y.data[i * output.y.stride + n] = activate(output.activation, sums[0]) * sums[1];
  }
};

}  // namespace

void gate_up_product(CudaStream& stream, WeightFormat format, const TileProducts& products,
                     const ProductOutput& output) {
  launch_product<2>(stream, format, products, GateUp{output});
}

}  // namespace foregate::cuda
