// Activations of the expert FFN, as kernels/ref defines them.
#pragma once

#include "kernels/api/args_moe.h"
#include "kernels/cuda/intrinsics.cuh"

namespace foregate::cuda {

__device__ __forceinline__ float activate(Activation activation, float x) {
  constexpr float kSqrtHalf = 0.70710678118654752440f;
  constexpr float kSqrtTwoOverPi = 0.79788456080286535588f;
  switch (activation) {
    case Activation::kSilu: return x / (1.0f + expf(-x));
    case Activation::kGelu: return 0.5f * x * (1.0f + erff(x * kSqrtHalf));
    case Activation::kGeluTanh: return 0.5f * x * (1.0f + tanhf(kSqrtTwoOverPi * (x + 0.044715f * x * x * x)));
    case Activation::kRelu: return x < 0 ? 0.0f : x;
  }
  return x;
}

}  // namespace foregate::cuda
