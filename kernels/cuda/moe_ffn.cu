// The sparse FFN whose routes stay on the device: one block sorts the assignments by expert and writes the lists that
// expert_ffn.cpp makes on the host; the products are the same. Grids are as large as any routing can need, and blocks
// beyond what there is end at once.
#include <algorithm>

#include "kernels/api/check.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/intrinsics.cuh"
#include "kernels/cuda/product.h"

namespace foregate::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kMaxTableExperts = 1024;

// What the kernels of one call read and this one writes.
struct RoutedLists {
  TileWork* gate_up;
  TileWork* down;
  TileRows* tiles;
  std::int32_t* x_rows;  // [assignments], by expert
  std::int32_t* y_rows;
  std::int32_t* counts;  // pieces, tiles
};

struct RouteArgs {
  const std::int32_t* ids;
  std::int32_t assignments;
  std::int32_t top_k;
  DeviceExperts experts;
  std::int32_t piece_rows;
  RoutedLists lists;
  std::int32_t* distinct;
};

struct RouteShared {
  int rows[kMaxTableExperts];    // of each expert
  int first[kMaxTableExperts];   // place of its first row in the lists
  int tile[kMaxTableExperts];    // and of its first tile
  int piece[kMaxTableExperts];   // and piece
  int placed[kMaxTableExperts];  // rows written so far
};

struct Places {
  int rows, tiles, pieces, experts;
};
__device__ __forceinline__ Places sum_of(const Places& a, const Places& b) {
  return {a.rows + b.rows, a.tiles + b.tiles, a.pieces + b.pieces, a.experts + b.experts};
}
__device__ __forceinline__ Places from_lane_below(const Places& a, int lanes) {
  return {__shfl_up_sync(kFullWarp, a.rows, lanes), __shfl_up_sync(kFullWarp, a.tiles, lanes),
          __shfl_up_sync(kFullWarp, a.pieces, lanes), __shfl_up_sync(kFullWarp, a.experts, lanes)};
}
__device__ __forceinline__ Places places_of(int rows, int piece_rows) {
  return {rows, (rows + kTileRows - 1) / kTileRows, (rows + piece_rows - 1) / piece_rows, rows > 0 ? 1 : 0};
}

// One warp: where the rows, tiles and pieces of each expert begin.
__device__ __forceinline__ void place_experts(const RouteArgs& args, RouteShared& shared) {
  const int lane = threadIdx.x;
  const int per_lane = (args.experts.experts + kWarpLanes - 1) / kWarpLanes;
  const int begin = lane * per_lane;
  const int end = min(begin + per_lane, args.experts.experts);
  Places mine = {0, 0, 0, 0};
  for (int e = begin; e < end; ++e) mine = sum_of(mine, places_of(shared.rows[e], args.piece_rows));
  Places before = mine;
  for (int lanes = 1; lanes < kWarpLanes; lanes *= 2) {
    const Places below = from_lane_below(before, lanes);
    if (lane >= lanes) before = sum_of(before, below);
  }
  if (lane == kWarpLanes - 1) {
    args.lists.counts[0] = before.pieces;
    args.lists.counts[1] = before.tiles;
    if (args.distinct != nullptr) *args.distinct = before.experts;
  }
  Places at = {before.rows - mine.rows, before.tiles - mine.tiles, before.pieces - mine.pieces, 0};
  for (int e = begin; e < end; ++e) {
    shared.first[e] = at.rows;
    shared.tile[e] = at.tiles;
    shared.piece[e] = at.pieces;
    at = sum_of(at, places_of(shared.rows[e], args.piece_rows));
  }
}

// A thread for each expert: its tiles and pieces.
__device__ __forceinline__ void list_expert(const RouteArgs& args, const RouteShared& shared, int e) {
  const int rows = shared.rows[e];
  for (int row = 0; row < rows; row += kTileRows) {
    args.lists.tiles[shared.tile[e] + row / kTileRows] = {shared.first[e] + row, min(kTileRows, rows - row)};
  }
  for (int row = 0; row < rows; row += args.piece_rows) {
    const int piece = shared.piece[e] + row / args.piece_rows;
    const int tile = shared.tile[e] + row / kTileRows;
    const int columns = min(args.piece_rows, rows - row);
    const int out = shared.first[e] + row;
    args.lists.gate_up[piece] = {args.experts.gate[e], args.experts.up[e], tile, columns, out};
    args.lists.down[piece] = {args.experts.down[e], nullptr, tile, columns, out};
  }
}

__global__ void __launch_bounds__(kThreads) route_kernel(RouteArgs args) {
  RouteShared& shared = shared_block<RouteShared>();
  for (int e = threadIdx.x; e < args.experts.experts; e += kThreads) shared.rows[e] = shared.placed[e] = 0;
  __syncthreads();
  for (int a = threadIdx.x; a < args.assignments; a += kThreads) atomicAdd(&shared.rows[args.ids[a]], 1);
  __syncthreads();
  if (threadIdx.x < kWarpLanes) place_experts(args, shared);
  __syncthreads();
  // The order of an expert's rows is as it comes: a row's bits do not depend on its place.
  for (int a = threadIdx.x; a < args.assignments; a += kThreads) {
    const int expert = args.ids[a];
    const int at = shared.first[expert] + atomicAdd(&shared.placed[expert], 1);
    args.lists.x_rows[at] = a / args.top_k;
    args.lists.y_rows[at] = a;
  }
  for (int e = threadIdx.x; e < args.experts.experts; e += kThreads) list_expert(args, shared, e);
}

// Hands out 256-byte aligned pieces of the workspace; without one it only counts.
struct Carver {
  std::byte* base;
  std::size_t used = 0;
  template <class T>
  T* take(std::int64_t count) {
    T* at = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
    used += (static_cast<std::size_t>(count) * sizeof(T) + 255) / 256 * 256;
    return at;
  }
};

struct Workspace {
  RoutedLists lists;
  std::byte* prepared;
  std::byte* prepared_hidden;
};

struct Limits {
  std::int64_t assignments, tiles, pieces;
};

// The most that any routing can need.
Limits limits_of(const MoeFfnArgs& args, std::int32_t piece_rows) {
  const std::int64_t assignments = args.x.rows * args.top_k;
  const std::int64_t experts = std::min<std::int64_t>(args.experts.experts, assignments);
  return {assignments, std::min(assignments, experts + assignments / kTileRows),
          std::min(assignments, experts + assignments / piece_rows)};
}

Workspace carve(const MoeFfnArgs& args, const Limits& limits, Carver& carver) {
  Workspace w;
  w.lists.gate_up = carver.take<TileWork>(limits.pieces);
  w.lists.down = carver.take<TileWork>(limits.pieces);
  w.lists.tiles = carver.take<TileRows>(limits.tiles);
  w.lists.x_rows = carver.take<std::int32_t>(limits.assignments);
  w.lists.y_rows = carver.take<std::int32_t>(limits.assignments);
  w.lists.counts = carver.take<std::int32_t>(2);
  w.prepared = carver.take<std::byte>(limits.tiles * tile_bytes(args.experts.gate_format, args.x.cols));
  w.prepared_hidden = carver.take<std::byte>(limits.tiles * tile_bytes(args.experts.down_format, args.experts.inner));
  return w;
}

void run_products(CudaStream& stream, const MoeFfnArgs& args, const Limits& limits, const Workspace& w,
                  std::int32_t piece_rows) {
  const DeviceExperts& experts = args.experts;
  prepare_tiles(stream, experts.gate_format, args.x, w.lists.tiles, w.lists.x_rows, limits.tiles, w.prepared,
                w.lists.counts + 1);
  TileProducts products;
  products.work = w.lists.gate_up;
  products.pieces = static_cast<std::int32_t>(limits.pieces);
  products.count = w.lists.counts;
  products.most_rows = piece_rows;
  products.prepared = w.prepared;
  products.tile_bytes = tile_bytes(experts.gate_format, args.x.cols);
  products.rows = experts.inner;
  products.cols = args.x.cols;
  ProductOutput hidden;
  hidden.y = {args.scratch, limits.assignments, experts.inner, experts.inner};
  hidden.activation = args.activation;
  gate_up_product(stream, experts.gate_format, products, hidden);

  const View2<const float> made{args.scratch, limits.assignments, experts.inner, experts.inner};
  prepare_tiles(stream, experts.down_format, made, w.lists.tiles, nullptr, limits.tiles, w.prepared_hidden,
                w.lists.counts + 1);
  products.work = w.lists.down;
  products.prepared = w.prepared_hidden;
  products.tile_bytes = tile_bytes(experts.down_format, experts.inner);
  products.rows = args.out.cols;
  products.cols = experts.inner;
  ProductOutput output;
  output.y = args.y;
  output.y_rows = w.lists.y_rows;
  product(stream, experts.down_format, products, output);
}

}  // namespace

void moe_ffn(Stream& stream, const MoeFfnArgs& args) {
  CHECK(args.experts.experts <= kMaxTableExperts);
  CudaStream& cuda = cuda_stream(stream);
  if (args.x.rows == 0) return;
  const std::int32_t piece_rows = tiles_per_piece(args.x.rows) * kTileRows;
  const Limits limits = limits_of(args, piece_rows);
  Carver counter{nullptr};
  carve(args, limits, counter);
  Carver carver{cuda.reserve(counter.used)};
  if (carver.base == nullptr) return;
  const Workspace w = carve(args, limits, carver);
  const RouteArgs route{
      args.ids,     static_cast<std::int32_t>(limits.assignments), args.top_k, args.experts, piece_rows, w.lists,
      args.distinct};
  cuda.launch(route_kernel, dim3(1), kThreads, sizeof(RouteShared), route);
  run_products(cuda, args, limits, w, piece_rows);
  MoeCombineArgs combine;
  combine.y = {args.y.data, args.y.rows, args.y.cols, args.y.stride};
  combine.weights = args.weights;
  combine.top_k = args.top_k;
  combine.out = args.out;
  moe_combine(stream, combine);
}

}  // namespace foregate::cuda
