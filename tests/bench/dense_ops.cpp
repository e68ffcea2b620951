// Benchmarks of the dense ops.
#include <numeric>
#include <utility>

#include "tests/bench/op_bench.h"

namespace foregate {
namespace {

constexpr std::int64_t kHidden = 2048;

std::string rows_name(const std::string& stem, std::int64_t rows) {
  return stem + "/T:" + std::to_string(rows);
}

PreparedOp prepare_linear(const OpMachine& machine, WeightFormat format, std::int64_t outputs, std::int64_t rows) {
  const BenchRows x(rows, kHidden), y(rows, outputs);
  auto args = std::make_shared<LinearArgs>();
  args->x = x.read();
  args->y = y.write();
  args->weight = pool_weight(machine, 0, format, outputs, kHidden);
  PreparedOp op;
  op.bytes = static_cast<double>(args->bytes_moved());
  op.macs = static_cast<double>(rows * outputs * kHidden);
  op.kind = mac_kind(format);
  op.before = [=, turn = std::int64_t{0}]() mutable {
    args->weight = pool_weight(machine, turn++, format, outputs, kHidden);
  };
  op.call = [=] {
    (void)x, (void)y;  // args points into them
    machine.ops.linear(machine.stream, *args);
  };
  return op;
}

// An op on [rows, kHidden] whose arguments are made by `fill` from three such matrices.
template <class Args>
void add_simple(std::vector<OpBench>& benches, const std::string& stem, Op<Args> OpTable::*slot,
                void (*fill)(Args&, const BenchRows& a, const BenchRows& b, const BenchRows& c)) {
  for (const std::int64_t rows : {1, 16, 512}) {
    benches.push_back({rows_name(stem, rows), [=](const OpMachine& machine) {
                         const BenchRows a(rows, kHidden), b(rows, kHidden), c(rows, kHidden);
                         Args args;
                         fill(args, a, b, c);
                         PreparedOp op;
                         op.bytes = static_cast<double>(args.bytes_moved());
                         op.call = [=] {
                           (void)a, (void)b, (void)c;
                           (machine.ops.*slot)(machine.stream, args);
                         };
                         return op;
                       }});
  }
}

void add_lookup(std::vector<OpBench>& benches, const std::string& stem, WeightFormat format, bool embed) {
  for (const std::int64_t rows : {1, 16, 512}) {
    benches.push_back({rows_name(stem, rows), [=](const OpMachine& machine) {
                         constexpr std::int64_t kVocab = 32000;
                         const BenchRows x(512, kHidden), out(rows, kHidden);
                         auto ids = std::make_shared<std::vector<std::int32_t>>(static_cast<std::size_t>(rows));
                         std::iota(ids->begin(), ids->end(), 0);
                         EmbedArgs lookup;
                         lookup.table = pool_weight(machine, 0, format, kVocab, kHidden);
                         lookup.tokens = ids->data();
                         lookup.out = out.write();
                         const GatherRowsArgs gather{x.read(), ids->data(), out.write()};
                         PreparedOp op;
                         op.bytes = static_cast<double>(embed ? lookup.bytes_moved() : gather.bytes_moved());
                         op.call = [=] {
                           (void)x, (void)out, (void)ids;  // the views lead into these
                           embed ? machine.ops.embed(machine.stream, lookup)
                                 : machine.ops.gather_rows(machine.stream, gather);
                         };
                         return op;
                       }});
  }
}

PreparedOp prepare_pack(const OpMachine& machine, DType source, WeightFormat format) {
  constexpr std::int64_t kRows = 1024;
  auto packed =
      std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(packed_bytes(format, kRows, kHidden)));
  PackWeightArgs args;
  args.source = machine.pool;
  args.source_type = source;
  args.rows = kRows;
  args.cols = kHidden;
  args.format = format;
  args.packed = packed->data();
  PreparedOp op;
  op.bytes = static_cast<double>(kRows * dtype_row_bytes(source, kHidden)) + static_cast<double>(packed->size());
  op.call = [=] {
    (void)packed;
    machine.ops.pack_weight(machine.stream, args);
  };
  return op;
}

}  // namespace

void add_linear(std::vector<OpBench>& benches) {
  constexpr std::int64_t kOutputs = 2048;
  for (const WeightFormat format : kBenchFormats) {
    for (const std::int64_t rows : {1, 2, 4, 8, 16, 32, 256}) {
      const std::string stem = std::string("linear/2048x2048/") + format_name(format);
      benches.push_back({rows_name(stem, rows),
                         [=](const OpMachine& machine) { return prepare_linear(machine, format, kOutputs, rows); }});
    }
  }
}

void add_rowwise(std::vector<OpBench>& benches) {
  add_lookup(benches, "embed/2048/bf16", WeightFormat::kBF16, true);
  add_lookup(benches, "embed/2048/q4_0", WeightFormat::kQ4_0, true);
  add_lookup(benches, "gather_rows/2048", WeightFormat::kF32, false);
  using Rows = const BenchRows&;
  add_simple<RmsNormArgs>(benches, "rms_norm/2048", &OpTable::rms_norm, [](RmsNormArgs& args, Rows a, Rows b, Rows c) {
    args.x = a.read();
    args.residual = b.write();
    args.weight = c.values->data();
    args.out = c.write();
  });
  add_simple<HeadNormArgs>(benches, "head_norm/16x128", &OpTable::head_norm,
                           [](HeadNormArgs& args, Rows a, Rows b, Rows) {
                             args.x = a.write();
                             args.heads = 16;
                             args.head_dim = kHidden / 16;
                             args.weight = b.values->data();
                           });
  add_simple<AddArgs>(benches, "add/2048", &OpTable::add, [](AddArgs& args, Rows a, Rows b, Rows) {
    args.x = a.write();
    args.y = b.read();
  });
  add_simple<SigmoidGateAddArgs>(benches, "sigmoid_gate_add/2048", &OpTable::sigmoid_gate_add,
                                 [](SigmoidGateAddArgs& args, Rows a, Rows b, Rows c) {
                                   args.gate = {a.values->data(), a.rows, 1, 1};
                                   args.y = b.read();
                                   args.out = c.write();
                                 });
}

// From blocks of the format itself, as GGUF files hold them, and from floats, which are quantized.
void add_pack_weight(std::vector<OpBench>& benches) {
  std::vector<std::pair<DType, WeightFormat>> conversions;
  for (const WeightFormat format : kBenchFormats) conversions.emplace_back(format_dtype(format), format);
  for (const WeightFormat format :
       {WeightFormat::kQ8_0, WeightFormat::kQ4_0, WeightFormat::kQ4_K, WeightFormat::kQ6_K}) {
    conversions.emplace_back(DType::kBF16, format);
  }
  for (const auto& [source, format] : conversions) {
    benches.push_back({std::string("pack_weight/1024x2048/") + dtype_name(source) + "_to_" + format_name(format),
                       [source = source, format = format](const OpMachine& machine) {
                         return prepare_pack(machine, source, format);
                       }});
  }
}

}  // namespace foregate
