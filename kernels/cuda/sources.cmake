# The sources of the CUDA backend, by paths from the root: compiled by nvcc into the module (kernels/cuda), and by the host
# compiler over the emulator (tests/cuda_host).
set(FOREGATE_CUDA_SOURCES
  kernels/cuda/attention_plan.cpp
  kernels/cuda/cublaslt_calls.cpp
  kernels/cuda/cuda_device.cpp
  kernels/cuda/cuda_stream.cpp
  kernels/cuda/cuda_table.cpp
  kernels/cuda/device_pages.cpp
  kernels/cuda/module.cpp
  kernels/cuda/nccl_peers.cpp
  kernels/cuda/expert_ffn.cpp
  kernels/cuda/library_products.cpp
  kernels/cuda/linear.cpp
  kernels/cuda/step_graph.cpp
  kernels/cuda/attention.cu
  kernels/cuda/embed.cu
  kernels/cuda/gate_up.cu
  kernels/cuda/moe_ffn.cu
  kernels/cuda/plain_parts.cu
  kernels/cuda/prepare.cu
  kernels/cuda/product.cu
  kernels/cuda/rope_kv.cu
  kernels/cuda/router.cu
  kernels/cuda/rowwise.cu
  kernels/cuda/sample.cu)
