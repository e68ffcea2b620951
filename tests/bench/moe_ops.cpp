// Benchmarks of the Mixture-of-Experts ops, at the shapes of OLMoE and Qwen3-30B-A3B.
#include <algorithm>

#include "tests/bench/op_bench.h"

namespace foregate {
namespace {

struct MoeShape {
  const char* name;
  std::int32_t experts;
  std::int32_t top_k;
  std::int64_t hidden;
  std::int64_t inner;
  bool one_expert = false;  // all tokens of a call meet in the same expert
};
constexpr MoeShape kMoeShapes[] = {{"8of64,1024x2048", 64, 8, 2048, 1024}, {"8of128,768x2048", 128, 8, 2048, 768}};
constexpr MoeShape kOneExpert{"one,1024x2048", 64, 1, 2048, 1024, true};

// Assignments dealt evenly (or all to one expert), so that each call meets the experts that were longest unused.
class EvenRouting {
 public:
  EvenRouting(const OpMachine& machine, const MoeShape& shape, WeightFormat format, std::int64_t tokens)
      : machine_(machine),
        shape_(shape),
        format_(format),
        tokens_(tokens),
        x_(tokens, shape.hidden),
        y_(tokens * shape.top_k, shape.hidden),
        scratch_(tokens * shape.top_k, shape.inner) {
    matrix_bytes_ = packed_bytes(format, shape.inner, shape.hidden);
    experts_ = std::min<std::int64_t>(shape.experts, machine.pool_bytes / (3 * matrix_bytes_));
    deal();
  }

  void deal() {
    x_rows_.assign(static_cast<std::size_t>(experts_), {});
    out_rows_.assign(static_cast<std::size_t>(experts_), {});
    for (std::int64_t a = 0; a < assignments(); ++a) {
      const auto expert = static_cast<std::size_t>((shape_.one_expert ? turn_ : turn_ + a) % experts_);
      x_rows_[expert].push_back(static_cast<std::int32_t>(a / shape_.top_k));
      out_rows_[expert].push_back(static_cast<std::int32_t>(a));
    }
    turn_ += shape_.one_expert ? 1 : assignments();
    groups_.clear();
    for (std::size_t e = 0; e < x_rows_.size(); ++e) {
      if (x_rows_[e].empty()) continue;
      groups_.push_back({weights(static_cast<std::int64_t>(e)), x_rows_[e].data(), out_rows_[e].data(),
                         static_cast<std::int32_t>(x_rows_[e].size())});
    }
  }

  std::int64_t assignments() const { return tokens_ * shape_.top_k; }
  ExpertFfnArgs args() const {
    return {x_.read(),         y_.write(),
            groups_.data(),    static_cast<std::int32_t>(groups_.size()),
            Activation::kSilu, scratch_.values->data()};
  }

 private:
  ExpertWeights weights(std::int64_t expert) const {
    const auto at = [&](std::int64_t part, std::int64_t rows, std::int64_t cols) {
      return PackedWeight{machine_.pool + (3 * expert + part) * matrix_bytes_, format_, rows, cols};
    };
    return {at(0, shape_.inner, shape_.hidden), at(1, shape_.inner, shape_.hidden), at(2, shape_.hidden, shape_.inner)};
  }

  OpMachine machine_;
  MoeShape shape_;
  WeightFormat format_;
  std::int64_t tokens_;
  BenchRows x_, y_, scratch_;
  std::int64_t matrix_bytes_ = 0;
  std::int64_t experts_ = 0;
  std::int64_t turn_ = 0;
  std::vector<std::vector<std::int32_t>> x_rows_, out_rows_;
  std::vector<ExpertGroup> groups_;
};

PreparedOp prepare_ffn(const OpMachine& machine, const MoeShape& shape, WeightFormat format, std::int64_t tokens) {
  auto routing = std::make_shared<EvenRouting>(machine, shape, format, tokens);
  PreparedOp op;
  op.bytes = static_cast<double>(routing->args().bytes_moved());
  op.macs = 3.0 * static_cast<double>(routing->assignments() * shape.hidden * shape.inner);
  op.kind = mac_kind(format);
  op.before = [=] { routing->deal(); };
  op.call = [=] { machine.ops.expert_ffn(machine.stream, routing->args()); };
  return op;
}

PreparedOp prepare_router(const OpMachine& machine, std::int32_t experts, std::int64_t tokens) {
  constexpr std::int32_t kTopK = 8;
  const BenchRows logits(tokens, experts), weights(tokens, kTopK);
  for (std::size_t i = 0; i < logits.values->size(); ++i) {
    (*logits.values)[i] = static_cast<float>(i * 2654435761u % 4096) * 1e-3f;
  }
  auto ids = std::make_shared<std::vector<std::int32_t>>(static_cast<std::size_t>(tokens * kTopK));
  RouterTopkArgs args;
  args.rule.experts = experts;
  args.rule.top_k = kTopK;
  args.logits = logits.read();
  args.ids = ids->data();
  args.weights = weights.values->data();
  PreparedOp op;
  op.bytes = static_cast<double>(args.bytes_moved());
  op.call = [=] {
    (void)logits, (void)weights, (void)ids;
    machine.ops.router_topk(machine.stream, args);
  };
  return op;
}

void add_ffn(std::vector<OpBench>& benches, const MoeShape& shape, std::initializer_list<std::int64_t> token_counts) {
  for (const WeightFormat format : kBenchFormats) {
    for (const std::int64_t tokens : token_counts) {
      benches.push_back(
          {std::string("expert_ffn/") + shape.name + "/" + format_name(format) + "/T:" + std::to_string(tokens),
           [=](const OpMachine& machine) { return prepare_ffn(machine, shape, format, tokens); }});
    }
  }
}

}  // namespace

void add_expert_ffn(std::vector<OpBench>& benches) {
  for (const MoeShape& shape : kMoeShapes) add_ffn(benches, shape, {1, 4, 8, 16, 32, 256});
  add_ffn(benches, kOneExpert, {1, 2, 4, 8});
}

void add_router(std::vector<OpBench>& benches) {
  for (const std::int32_t experts : {64, 128}) {
    for (const std::int64_t tokens : {1, 16, 512}) {
      benches.push_back({"router_topk/8of" + std::to_string(experts) + "/T:" + std::to_string(tokens),
                         [=](const OpMachine& machine) { return prepare_router(machine, experts, tokens); }});
    }
  }
}

void add_combine(std::vector<OpBench>& benches) {
  for (const std::int64_t tokens : {1, 16, 512}) {
    benches.push_back({"moe_combine/8x2048/T:" + std::to_string(tokens), [=](const OpMachine& machine) {
                         constexpr std::int32_t kTopK = 8;
                         const BenchRows y(tokens * kTopK, 2048), weights(tokens, kTopK), out(tokens, 2048);
                         const MoeCombineArgs args{y.read(), weights.values->data(), kTopK, out.write(), false};
                         PreparedOp op;
                         op.bytes = static_cast<double>(args.bytes_moved());
                         op.call = [=] {
                           (void)y, (void)weights, (void)out;
                           machine.ops.moe_combine(machine.stream, args);
                         };
                         return op;
                       }});
  }
}

}  // namespace foregate
