#include "kernels/cuda/library_products.h"

#include <algorithm>
#include <utility>

#include "kernels/cuda/cuda_stream.h"

namespace foregate {
namespace {

constexpr std::size_t kAligned = 256;
constexpr std::int64_t kPadding = 16;  // columns: whole rows of 32 bytes
constexpr std::size_t kMostPlans = 4096;

std::int64_t padded(std::int64_t cols) {
  return (cols + kPadding - 1) / kPadding * kPadding;
}
std::size_t aligned(std::size_t bytes) {
  return (bytes + kAligned - 1) / kAligned * kAligned;
}
std::size_t row_bytes(std::int64_t cols) {
  return static_cast<std::size_t>(padded(cols)) * sizeof(std::uint16_t);
}

// Where things lie in what reserve() gave.
struct Places {
  std::byte* weights[2];  // high and low
  std::byte* rows[2];
  std::byte* workspace;
};

std::int64_t alignment_of(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  return static_cast<std::int64_t>(std::min<std::uintptr_t>(at & ~(at - 1), kAligned));
}

}  // namespace

// One product of the library: everything it reads, for a graph to compare.
struct LibraryProducts::Call {
  const LtCalls* calls;
  LtHandle handle;
  const Plan* plan;
  const std::byte* weights;
  const std::byte* rows;
  float* y;
  std::byte* workspace;
  std::uint64_t adds;  // to y; else replaces it
};

std::unique_ptr<LibraryProducts> LibraryProducts::open(const LibraryRule& rule, std::string* error) {
  const LtCalls* calls = load_cublaslt(rule.library, error);
  if (calls == nullptr) return nullptr;
  std::unique_ptr<LibraryProducts> products(new LibraryProducts(*calls, rule));
  if (const int status = calls->Create(&products->handle_); status != kLtSuccess) {
    *error = "cuBLASLt does not start, status " + std::to_string(status);
    products->handle_ = nullptr;
    return nullptr;
  }
  return products;
}

LibraryProducts::~LibraryProducts() {
  for (const auto& [shape, plan] : plans_) {
    for (const LtLayout layout : plan->layouts) {
      if (layout != nullptr) calls_.MatrixLayoutDestroy(layout);
    }
    if (plan->desc != nullptr) calls_.MatmulDescDestroy(plan->desc);
  }
  if (handle_ != nullptr) calls_.Destroy(handle_);
}

std::string LibraryProducts::version() const {
  const std::size_t version = calls_.GetVersion();
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100);
}

// Weight rows that are plain at a time.
std::int64_t LibraryProducts::slice_rows(std::int64_t cols, int parts) const {
  const std::size_t one = row_bytes(cols) * static_cast<std::size_t>(parts);
  return std::max<std::int64_t>(static_cast<std::int64_t>(rule_.slice_bytes / one) / kRowInterleave, 1) *
         kRowInterleave;
}

std::size_t LibraryProducts::workspace_bytes(std::int64_t rows, std::int64_t cols, std::int64_t outputs) const {
  const std::int64_t whole = (outputs + kRowInterleave - 1) / kRowInterleave * kRowInterleave;
  const auto weights = static_cast<std::size_t>(std::min(whole, slice_rows(cols, 1)));
  return 2 * aligned(weights * row_bytes(cols)) + 2 * aligned(static_cast<std::size_t>(rows) * row_bytes(cols)) +
         rule_.workspace_bytes;
}

// In columns, y^T [n, rows] = W [n, k] * x^T [k, rows]: plain rows of W are columns of its transpose.
bool LibraryProducts::make(const Shape& shape, Plan& plan) {
  const auto [n, k, rows, stride, alignment] = shape;
  const int transposed = kLtTransposed;
  const auto count = [](std::int64_t value) { return static_cast<std::uint64_t>(value); };
  if (calls_.MatmulDescCreate(&plan.desc, kLtCompute, kLtF32) != kLtSuccess ||
      calls_.MatmulDescSetAttribute(plan.desc, kLtDescTransA, &transposed, sizeof transposed) != kLtSuccess ||
      calls_.MatrixLayoutCreate(&plan.layouts[0], kLtBf16, count(k), count(n), k) != kLtSuccess ||
      calls_.MatrixLayoutCreate(&plan.layouts[1], kLtBf16, count(k), count(rows), k) != kLtSuccess ||
      calls_.MatrixLayoutCreate(&plan.layouts[2], kLtF32, count(n), count(rows), stride) != kLtSuccess) {
    return false;
  }
  LtPreference preference = nullptr;
  if (calls_.MatmulPreferenceCreate(&preference) != kLtSuccess) return false;
  const bool chosen = choose(shape, preference, plan);
  calls_.MatmulPreferenceDestroy(preference);
  return chosen;
}

bool LibraryProducts::choose(const Shape& shape, LtPreference preference, Plan& plan) {
  const std::uint64_t workspace = rule_.workspace_bytes;
  const std::uint32_t no_shared_sums = 0;
  const auto prefer = [&](int attribute, const auto& value) {
    return calls_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value) == kLtSuccess;
  };
  bool set = prefer(kLtPreferWorkspace, workspace) && prefer(kLtPreferReduction, no_shared_sums);
  for (int matrix = 0; matrix < 4; ++matrix) {
    const auto bytes = static_cast<std::uint32_t>(matrix < 2 ? 32 : shape[4]);
    set = set && prefer(kLtPreferAlignmentA + matrix, bytes);
  }
  LtHeuristic found = {};
  int count = 0;
  const auto& [weights, rows, y] = plan.layouts;
  if (!set || calls_.MatmulAlgoGetHeuristic(handle_, plan.desc, weights, rows, y, y, preference, 1, &found, &count) !=
                  kLtSuccess) {
    return false;
  }
  plan.algo = found.algo;
  plan.workspace_bytes = found.workspace_bytes;
  return count == 1 && found.state == kLtSuccess && found.workspace_bytes <= rule_.workspace_bytes;
}

// Null when the library knows no way for the shape, which is remembered too.
const LibraryProducts::Plan* LibraryProducts::plan(const Shape& shape) {
  const std::lock_guard lock(mutex_);
  auto found = plans_.find(shape);
  if (found == plans_.end()) {
    if (plans_.size() >= kMostPlans) return nullptr;
    found = plans_.emplace(shape, std::make_unique<Plan>()).first;
    found->second->good = make(shape, *found->second);
    ++plans_made_;
  }
  return found->second->good ? found->second.get() : nullptr;
}

cudaError_t LibraryProducts::run(cudaStream_t stream, Call call) {
  const float one = 1.0f;
  const float before = call.adds != 0 ? 1.0f : 0.0f;
  const auto& [weights, rows, y] = call.plan->layouts;
  const int status =
      call.calls->Matmul(call.handle, call.plan->desc, &one, call.weights, weights, call.rows, rows, &before, call.y, y,
                         call.y, y, &call.plan->algo, call.workspace, call.plan->workspace_bytes, stream);
  return status == kLtSuccess ? cudaSuccess : cudaErrorLaunchFailure;
}

bool LibraryProducts::linear(CudaStream& stream, const LinearArgs& args) {
  const PackedWeight& weight = args.weight;
  if (!takes(args.x.rows, weight.format)) return false;
  const int parts = weight.format == WeightFormat::kF16 ? 2 : 1;
  const std::int64_t k = padded(weight.cols);
  const std::int64_t slice =
      std::min(slice_rows(weight.cols, parts), (weight.rows + kRowInterleave - 1) / kRowInterleave * kRowInterleave);
  const auto plan_of = [&](std::int64_t first) {
    return plan(
        {std::min(slice, weight.rows - first), k, args.x.rows, args.y.stride, alignment_of(args.y.data + first)});
  };
  std::size_t workspace = 0;
  for (std::int64_t first = 0; first < weight.rows; first += slice) {
    const Plan* const found = plan_of(first);
    if (found == nullptr) {
      ++refused_;
      return false;
    }
    workspace = std::max(workspace, found->workspace_bytes);
  }
  const std::size_t weight_bytes = aligned(static_cast<std::size_t>(slice) * row_bytes(weight.cols));
  const std::size_t x_bytes = aligned(static_cast<std::size_t>(args.x.rows) * row_bytes(weight.cols));
  std::byte* at = stream.reserve(static_cast<std::size_t>(parts) * weight_bytes + 2 * x_bytes + workspace);
  if (at == nullptr) return true;  // the stream has failed
  Places places = {};
  for (int part = 0; part < parts; ++part) places.weights[part] = std::exchange(at, at + weight_bytes);
  for (std::byte*& rows : places.rows) rows = std::exchange(at, at + x_bytes);
  places.workspace = at;
  cuda::split_rows(stream, args.x, k, places.rows[0], places.rows[1]);
  if (args.bias != nullptr) cuda::start_with_bias(stream, args.bias, args.y, args.accumulate);
  for (std::int64_t first = 0; first < weight.rows; first += slice) {
    const std::int64_t rows = std::min(slice, weight.rows - first);
    cuda::plain_weights(stream, weight, first, rows, k, places.weights[0], places.weights[1]);
    bool adds = args.accumulate || args.bias != nullptr;
    const Plan* const chosen = plan_of(first);
    const auto product = [&](const std::byte* weights, const std::byte* x) {
      stream.call(&LibraryProducts::run,
                  Call{&calls_, handle_, chosen, weights, x, args.y.data + first, places.workspace, adds ? 1u : 0u});
      adds = true;
    };
    if (parts == 2) product(places.weights[1], places.rows[0]);
    product(places.weights[0], places.rows[1]);
    product(places.weights[0], places.rows[0]);
  }
  ++products_;
  return true;
}

bool LibraryProducts::plain(CudaStream& stream, const void* weights, const void* x, View2<float> y, std::int64_t k) {
  const Plan* const chosen = plan({y.cols, k, y.rows, y.stride, alignment_of(y.data)});
  std::byte* workspace = chosen == nullptr ? nullptr : stream.reserve(std::max(chosen->workspace_bytes, kAligned));
  if (workspace == nullptr) return false;
  stream.call(&LibraryProducts::run, Call{&calls_, handle_, chosen, static_cast<const std::byte*>(weights),
                                          static_cast<const std::byte*>(x), y.data, workspace, 0});
  return true;
}

}  // namespace foregate
