// A library with the calls of cuBLASLt that kernels/cuda/cublaslt_calls.h names: products by the meaning that its
// documentation gives them, d = alpha * op(a) * b + beta * c over columns with leading dimensions, in double and
// rounded once. Work goes into the stream it is given. Anything that the real one would refuse is refused; what a test
// plants (fake_cublaslt_fault) makes results wrong as a mistake of the caller would.
#include <cuda_runtime.h>

#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/api/blocks.h"
#include "kernels/cuda/cublaslt_calls.h"

#define FOREGATE_EXPORT extern "C" __attribute__((visibility("default")))

namespace foregate {
struct LtHandleObject {
  int alive = 1;
};
struct LtDescObject {
  int compute, scale;
  int transposed[2] = {0, 0};
};
struct LtLayoutObject {
  int type;
  std::uint64_t rows, cols;
  std::int64_t ld;
};
struct LtPreferenceObject {
  std::uint64_t workspace = 0;
  std::uint32_t reduction = 0xff;
  std::uint32_t alignment[4] = {256, 256, 256, 256};
};
}  // namespace foregate

using namespace foregate;

namespace {

constexpr int kInvalidValue = 7;
constexpr std::size_t kWorkspace = 4096;  // that a product wants, and fills

enum Fault { kNone, kWrongStride, kLostPart, kRefuse, kFail };
int fault = kNone;
int products = 0;
std::mutex mutex;

std::uint64_t token(const LtLayoutObject& a, const LtLayoutObject& b, const LtLayoutObject& d) {
  return (a.rows * 1000003 + a.cols) * 1000003 + b.cols * 31 + static_cast<std::uint64_t>(d.ld);
}

struct Product {
  LtLayoutObject a, b, d;
  float alpha, beta;
  const std::uint16_t* a_data;
  const std::uint16_t* b_data;
  const float* c_data;
  float* d_data;
  std::byte* workspace;
};

// op(a) is a^T: columns of a and b are multiplied.
void multiply(const Product& p) {
  std::memset(p.workspace, 0xab, kWorkspace);
  for (std::uint64_t column = 0; column < p.d.cols; ++column) {
    for (std::uint64_t row = 0; row < p.d.rows; ++row) {
      double sum = 0;
      const std::uint16_t* a = p.a_data + row * static_cast<std::uint64_t>(p.a.ld);
      const std::uint16_t* b = p.b_data + column * static_cast<std::uint64_t>(p.b.ld);
      for (std::uint64_t k = 0; k < p.a.rows; ++k) {
        sum += static_cast<double>(widen_bf16(a[k])) * static_cast<double>(widen_bf16(b[k]));
      }
      const std::uint64_t at = column * static_cast<std::uint64_t>(p.d.ld) + row;
      const double before = p.beta == 0.0f ? 0.0 : static_cast<double>(p.beta) * static_cast<double>(p.c_data[at]);
      p.d_data[at] = static_cast<float>(static_cast<double>(p.alpha) * sum + before);
    }
  }
}

bool fits(const LtDescObject& desc, const LtLayoutObject& a, const LtLayoutObject& b, const LtLayoutObject& c,
          const LtLayoutObject& d) {
  const auto wide = [](const LtLayoutObject& m) { return m.ld >= static_cast<std::int64_t>(m.rows); };
  return desc.compute == kLtCompute && desc.scale == kLtF32 && desc.transposed[0] == kLtTransposed &&
         desc.transposed[1] == 0 && a.type == kLtBf16 && b.type == kLtBf16 && c.type == kLtF32 && d.type == kLtF32 &&
         a.rows == b.rows && d.rows == a.cols && d.cols == b.cols && c.rows == d.rows && c.cols == d.cols &&
         c.ld == d.ld && wide(a) && wide(b) && wide(d) && a.rows > 0 && a.cols > 0 && b.cols > 0;
}

template <class Object>
int destroy(Object* object) {
  delete object;
  return object == nullptr ? kInvalidValue : kLtSuccess;
}

bool aligned(const void* at, std::uint32_t bytes) {
  return bytes > 0 && reinterpret_cast<std::uintptr_t>(at) % bytes == 0;
}

}  // namespace

FOREGATE_EXPORT void fake_cublaslt_fault(int kind) {
  fault = kind;
}
FOREGATE_EXPORT int fake_cublaslt_products() {
  return products;
}

FOREGATE_EXPORT int cublasLtCreate(LtHandle* handle) {
  *handle = new LtHandleObject;
  return kLtSuccess;
}
FOREGATE_EXPORT int cublasLtDestroy(LtHandle handle) {
  return destroy(handle);
}
FOREGATE_EXPORT std::size_t cublasLtGetVersion() {
  return 130000;
}
FOREGATE_EXPORT int cublasLtMatmulDescCreate(LtDesc* desc, int compute, int scale) {
  *desc = new LtDescObject{compute, scale};
  return kLtSuccess;
}
FOREGATE_EXPORT int cublasLtMatmulDescDestroy(LtDesc desc) {
  return destroy(desc);
}
FOREGATE_EXPORT int cublasLtMatmulDescSetAttribute(LtDesc desc, int attribute, const void* value, std::size_t bytes) {
  const int which = attribute - kLtDescTransA;
  if (which < 0 || which > 1 || bytes != sizeof(int)) return kInvalidValue;
  std::memcpy(&desc->transposed[which], value, bytes);
  return kLtSuccess;
}
FOREGATE_EXPORT int cublasLtMatrixLayoutCreate(LtLayout* layout, int type, std::uint64_t rows, std::uint64_t cols,
                                               std::int64_t ld) {
  *layout = new LtLayoutObject{type, rows, cols, ld};
  return kLtSuccess;
}
FOREGATE_EXPORT int cublasLtMatrixLayoutDestroy(LtLayout layout) {
  return destroy(layout);
}
FOREGATE_EXPORT int cublasLtMatmulPreferenceCreate(LtPreference* preference) {
  *preference = new LtPreferenceObject;
  return kLtSuccess;
}
FOREGATE_EXPORT int cublasLtMatmulPreferenceDestroy(LtPreference preference) {
  return destroy(preference);
}
FOREGATE_EXPORT int cublasLtMatmulPreferenceSetAttribute(LtPreference preference, int attribute, const void* value,
                                                         std::size_t bytes) {
  void* to = nullptr;
  std::size_t size = sizeof(std::uint32_t);
  if (attribute == kLtPreferWorkspace) to = &preference->workspace, size = sizeof(std::uint64_t);
  if (attribute == kLtPreferReduction) to = &preference->reduction;
  const int matrix = attribute - kLtPreferAlignmentA;
  if (matrix >= 0 && matrix < 4) to = &preference->alignment[matrix];
  if (to == nullptr || bytes != size) return kInvalidValue;
  std::memcpy(to, value, size);
  return kLtSuccess;
}

// An algorithm is for one shape, and for addresses as aligned as was said.
FOREGATE_EXPORT int cublasLtMatmulAlgoGetHeuristic(LtHandle handle, LtDesc desc, LtLayout a, LtLayout b, LtLayout c,
                                                   LtLayout d, LtPreference preference, int asked, LtHeuristic* found,
                                                   int* count) {
  if (handle == nullptr || asked < 1 || !fits(*desc, *a, *b, *c, *d)) return kInvalidValue;
  *count = 0;
  if (fault == kRefuse || preference->workspace < kWorkspace || preference->reduction != 0) return kLtNotSupported;
  if (preference->alignment[0] < 16 || preference->alignment[1] < 16) return kLtNotSupported;
  *found = {};
  found->algo.data[0] = token(*a, *b, *d);
  for (int i = 0; i < 4; ++i) found->algo.data[1 + i] = preference->alignment[i];
  found->workspace_bytes = kWorkspace;
  *count = 1;
  return kLtSuccess;
}

FOREGATE_EXPORT int cublasLtMatmul(LtHandle handle, LtDesc desc, const void* alpha, const void* a, LtLayout a_layout,
                                   const void* b, LtLayout b_layout, const void* beta, const void* c, LtLayout c_layout,
                                   void* d, LtLayout d_layout, const LtAlgo* algo, void* workspace,
                                   std::size_t workspace_bytes, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  if (handle == nullptr || algo == nullptr || workspace_bytes < kWorkspace || !aligned(workspace, 16))
    return kInvalidValue;
  if (!fits(*desc, *a_layout, *b_layout, *c_layout, *d_layout)) return kInvalidValue;
  if (algo->data[0] != token(*a_layout, *b_layout, *d_layout)) return kInvalidValue;
  const void* const data[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    if (!aligned(data[i], static_cast<std::uint32_t>(algo->data[1 + i]))) return kInvalidValue;
  }
  if (fault == kFail) return kInvalidValue;
  ++products;
  auto* product = new Product{*a_layout,
                              *b_layout,
                              *d_layout,
                              *static_cast<const float*>(alpha),
                              *static_cast<const float*>(beta),
                              static_cast<const std::uint16_t*>(a),
                              static_cast<const std::uint16_t*>(b),
                              static_cast<const float*>(c),
                              static_cast<float*>(d),
                              static_cast<std::byte*>(workspace)};
  if (fault == kWrongStride && product->b.cols > 1) product->b.ld -= 8;
  if (fault == kLostPart && product->beta == 0.0f) product->alpha = 0.0f;  // the first of a sum
  auto& queue = *reinterpret_cast<EmulatedQueue*>(stream);
  queue.put(
      queue, [](void* body) { multiply(*static_cast<Product*>(body)); },
      [](void* body) { delete static_cast<Product*>(body); }, product);
  return kLtSuccess;
}
