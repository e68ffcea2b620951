// Benchmarks of attention and of what prepares its rows.
#include <numeric>

#include "kernels/api/check.h"
#include "tests/bench/op_bench.h"

namespace foregate {
namespace {

constexpr std::int32_t kHeadDim = 128;
constexpr std::int32_t kBlock = 16;

struct AttentionCase {
  std::int32_t heads;
  std::int32_t kv_heads;
  std::int32_t context;  // keys of the last row
  std::int32_t seqs;
  std::int32_t rows;  // of each sequence
};
constexpr AttentionCase kAttentionCases[] = {
    {16, 16, 128, 1, 1}, {16, 16, 8192, 1, 1}, {4, 4, 4096, 16, 1},  {4, 4, 4096, 16, 8},   {4, 4, 4096, 1, 512},
    {32, 4, 8192, 1, 1}, {32, 4, 4096, 16, 1}, {32, 4, 4096, 16, 8}, {32, 4, 4096, 1, 512},
};

// Pages in the pool; blocks of a sequence one after the other.
KvPages pool_pages(const OpMachine& machine, DType type, std::int32_t kv_heads, std::int64_t blocks) {
  KvPages pages;
  pages.type = type;
  pages.num_blocks = blocks;
  pages.block_size = kBlock;
  pages.kv_heads = kv_heads;
  pages.head_dim = kHeadDim;
  const std::int64_t bytes = blocks * kBlock * kv_heads * kHeadDim * dtype_bytes(type);
  const std::int64_t scale_bytes = type == DType::kI8 ? blocks * kBlock * kv_heads * 4 : 0;
  CHECK(2 * (bytes + scale_bytes) <= machine.pool_bytes);
  pages.k = machine.pool;
  pages.v = machine.pool + bytes;
  if (scale_bytes == 0) return pages;
  pages.k_scales = reinterpret_cast<float*>(machine.pool + 2 * bytes);
  pages.v_scales = reinterpret_cast<float*>(machine.pool + 2 * bytes + scale_bytes);
  return pages;
}

PreparedOp prepare_attention(const OpMachine& machine, const AttentionCase& c, DType type) {
  const std::int32_t blocks = c.context / kBlock;
  const BenchRows q(std::int64_t{c.seqs} * c.rows, std::int64_t{c.heads} * kHeadDim, 0.01f);
  const BenchRows out(q.rows, q.cols);
  auto table = std::make_shared<std::vector<std::int32_t>>(static_cast<std::size_t>(blocks * c.seqs));
  std::iota(table->begin(), table->end(), 0);
  auto spans = std::make_shared<std::vector<SeqSpan>>();
  for (std::int32_t s = 0; s < c.seqs; ++s) {
    spans->push_back({s * c.rows, c.rows, c.context - c.rows, table->data() + s * blocks});
  }
  AttentionArgs args;
  args.q = q.read();
  args.out = out.write();
  args.heads = c.heads;
  args.scale = 0.088f;
  args.seqs = spans->data();
  args.num_seqs = c.seqs;
  args.pages = pool_pages(machine, type, c.kv_heads, std::int64_t{blocks} * c.seqs);
  PreparedOp op;
  op.bytes = static_cast<double>(args.bytes_moved());
  op.macs = 2.0 * static_cast<double>(q.rows * q.cols) * (c.context - (c.rows - 1) / 2.0);
  op.call = [=] {
    (void)q, (void)out, (void)table, (void)spans;
    machine.ops.attention(machine.stream, args);
  };
  return op;
}

PreparedOp prepare_rope(const OpMachine& machine, std::int64_t rows) {
  constexpr std::int32_t kHeads = 32;
  const BenchRows x(rows, kHeads * kHeadDim), cos(rows, kHeadDim / 2), sin(rows, kHeadDim / 2);
  const RopeArgs args{x.write(), kHeads, kHeadDim, kHeadDim, cos.values->data(), sin.values->data()};
  PreparedOp op;
  op.bytes = static_cast<double>(args.bytes_moved());
  op.call = [=] {
    (void)x, (void)cos, (void)sin;
    machine.ops.rope(machine.stream, args);
  };
  return op;
}

PreparedOp prepare_kv_write(const OpMachine& machine, DType type, std::int64_t rows) {
  constexpr std::int32_t kKvHeads = 4;
  const BenchRows k(rows, kKvHeads * kHeadDim), v(rows, kKvHeads * kHeadDim);
  auto slots = std::make_shared<std::vector<std::int64_t>>(static_cast<std::size_t>(rows));
  std::iota(slots->begin(), slots->end(), 0);
  const KvWriteArgs args{k.read(), v.read(), slots->data(), pool_pages(machine, type, kKvHeads, rows / kBlock + 1)};
  PreparedOp op;
  op.bytes = static_cast<double>(args.bytes_moved());
  op.call = [=] {
    (void)k, (void)v, (void)slots;
    machine.ops.kv_write(machine.stream, args);
  };
  return op;
}

}  // namespace

void add_attention(std::vector<OpBench>& benches) {
  for (const AttentionCase& c : kAttentionCases) {
    for (const DType type : kBenchKvTypes) {
      const std::string name = "attention/" + std::to_string(c.heads) + "of" + std::to_string(c.kv_heads) + "x128/" +
                               dtype_name(type) + "/keys:" + std::to_string(c.context) +
                               "/seqs:" + std::to_string(c.seqs) + "/T:" + std::to_string(c.rows);
      benches.push_back({name, [=](const OpMachine& machine) { return prepare_attention(machine, c, type); }});
    }
  }
}

void add_positions(std::vector<OpBench>& benches) {
  for (const std::int64_t rows : {1, 16, 512}) {
    const std::string suffix = "/T:" + std::to_string(rows);
    benches.push_back({"rope/32x128" + suffix, [=](const OpMachine& machine) { return prepare_rope(machine, rows); }});
    for (const DType type : kBenchKvTypes) {
      benches.push_back({std::string("kv_write/4x128/") + dtype_name(type) + suffix,
                         [=](const OpMachine& machine) { return prepare_kv_write(machine, type, rows); }});
    }
  }
}

}  // namespace foregate
