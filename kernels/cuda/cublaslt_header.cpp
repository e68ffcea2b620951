// Compares what cublaslt_calls.h declares with the toolkit's header, where there is one. Nothing of it is linked.
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include "kernels/cuda/cublaslt_calls.h"

namespace foregate {

static_assert(sizeof(LtAlgo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(LtHeuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(LtHeuristic, workspace_bytes) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(LtHeuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(kLtSuccess == CUBLAS_STATUS_SUCCESS && kLtNotSupported == CUBLAS_STATUS_NOT_SUPPORTED);
static_assert(kLtF32 == CUDA_R_32F && kLtBf16 == CUDA_R_16BF && kLtCompute == CUBLAS_COMPUTE_32F);
static_assert(kLtTransposed == CUBLAS_OP_T && sizeof(cublasOperation_t) == sizeof(int));
static_assert(kLtDescTransA == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(kLtPreferWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(kLtPreferReduction == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(CUBLASLT_REDUCTION_SCHEME_NONE == 0);
static_assert(kLtPreferAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(kLtPreferAlignmentA + 1 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(kLtPreferAlignmentA + 2 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(kLtPreferAlignmentA + 3 == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);

// Enumerations are passed as int, addresses as addresses.
static_assert(sizeof(cublasComputeType_t) == 4 && sizeof(cudaDataType) == 4 && sizeof(cublasStatus_t) == 4);
static_assert(sizeof(cublasLtMatmulDescAttributes_t) == 4 && sizeof(cublasLtMatmulPreferenceAttributes_t) == 4);
using Matmul = cublasStatus_t (*)(cublasLtHandle_t, cublasLtMatmulDesc_t, const void*, const void*,
                                  cublasLtMatrixLayout_t, const void*, cublasLtMatrixLayout_t, const void*, const void*,
                                  cublasLtMatrixLayout_t, void*, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t*,
                                  void*, size_t, cudaStream_t);
static_assert(std::is_same_v<Matmul, decltype(&cublasLtMatmul)>);
using Heuristic = cublasStatus_t (*)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                     cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                     cublasLtMatmulPreference_t, int, cublasLtMatmulHeuristicResult_t*, int*);
static_assert(std::is_same_v<Heuristic, decltype(&cublasLtMatmulAlgoGetHeuristic)>);

}  // namespace foregate
#endif
