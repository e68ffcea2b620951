#include "tests/kernels/cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace foregate::testing {
namespace {

const std::vector<WeightFormat> kFormats = {WeightFormat::kF32, WeightFormat::kF16, WeightFormat::kBF16};

template <class... Parts>
std::string named(const char* op, Parts... parts) {
  std::string name = op;
  ((name += std::string(" ") +
            [](auto part) {
              if constexpr (std::is_convertible_v<decltype(part), std::string>)
                return std::string(part);
              else
                return std::to_string(part);
            }(parts)),
   ...);
  return name;
}

void add_linear(std::vector<OpCase>& cases) {
  struct Shape {
    std::int64_t t, n, k;
  };
  const std::vector<Shape> shapes = {{1, 1, 1},    {1, 16, 7},   {2, 17, 64},   {3, 15, 200},  {4, 33, 64},
                                     {5, 130, 7},  {6, 48, 129}, {7, 64, 128},  {8, 100, 200}, {9, 31, 1},
                                     {12, 70, 65}, {13, 64, 64}, {25, 20, 257}, {33, 96, 200}, {600, 40, 130}};
  for (const Shape& s : shapes) {
    for (const WeightFormat format : kFormats) {
      for (const bool rich : {false, true}) {
        const std::string name = named("linear", static_cast<int>(s.t), static_cast<int>(s.n), static_cast<int>(s.k),
                                       format_name(format), rich ? "bias+accumulate" : "plain");
        cases.push_back(
            {name, LinearArgs::tolerance, s.n, [=](const OpTable& ops, Stream& stream) {
               Random random(s.t * 7 + s.n * 3 + s.k);
               const Packed weight = random_packed(random, s.n, s.k, format);
               const Floats x = random.floats(s.t * s.k);
               const Floats bias = random.floats(s.n);
               Floats y = random.floats(s.t * s.n);
               ops.linear(stream, {weight.weight(), rich ? bias.data() : nullptr, view(x, s.k), view(y, s.n), rich});
               return y;
             }});
      }
    }
  }
}

const std::vector<WeightFormat> kQuantized = {WeightFormat::kQ8_0, WeightFormat::kQ4_0, WeightFormat::kQ4_1,
                                              WeightFormat::kQ5_0, WeightFormat::kQ4_K, WeightFormat::kQ5_K,
                                              WeightFormat::kQ6_K, WeightFormat::kMxfp4};

// Those and fp8, whose rows are blocks too.
const std::vector<WeightFormat> kBlocked = [] {
  std::vector<WeightFormat> formats = kQuantized;
  formats.push_back(WeightFormat::kFp8);
  return formats;
}();

void add_quantized_linear(std::vector<OpCase>& cases) {
  struct Shape {
    std::int64_t t, n, k;
  };
  const std::vector<Shape> shapes = {{1, 1, 256},   {1, 50, 512},  {2, 16, 256},  {3, 33, 256},  {4, 17, 512},
                                     {5, 40, 256},  {6, 16, 256},  {7, 20, 768},  {8, 100, 256}, {11, 48, 256},
                                     {16, 70, 512}, {17, 31, 256}, {30, 16, 256}, {45, 96, 256}, {530, 18, 256}};
  for (const Shape& s : shapes) {
    for (const WeightFormat format : kBlocked) {
      const bool rich = s.t % 2 == 0;
      const std::string name = named("linear", static_cast<int>(s.t), static_cast<int>(s.n), static_cast<int>(s.k),
                                     format_name(format), rich ? "bias+accumulate" : "plain");
      cases.push_back(
          {name, LinearArgs::tolerance, s.n, [=](const OpTable& ops, Stream& stream) {
             Random random(s.t * 7 + s.n * 3 + s.k);
             const Packed weight = random_packed(random, s.n, s.k, format);
             const Floats x = random.floats(s.t * s.k);
             const Floats bias = random.floats(s.n);
             Floats y = random.floats(s.t * s.n);
             ops.linear(stream, {weight.weight(), rich ? bias.data() : nullptr, view(x, s.k), view(y, s.n), rich});
             return y;
           }});
    }
  }
}

void add_norms(std::vector<OpCase>& cases) {
  for (const std::int64_t cols : {1, 7, 16, 63, 64, 200, 1000}) {
    for (const bool residual : {false, true}) {
      cases.push_back({named("rms_norm", static_cast<int>(cols), residual ? "residual" : "plain"),
                       RmsNormArgs::tolerance, cols, [=](const OpTable& ops, Stream& stream) {
                         Random random(cols);
                         const Floats x = random.floats(5 * cols, 3.0f);
                         Floats sum = random.floats(5 * cols);
                         const Floats weight = random.floats(cols);
                         Floats out(x.size());
                         RmsNormArgs args{view(x, cols), {}, weight.data(), 1e-6f, view(out, cols)};
                         if (residual) args.residual = view(sum, cols);
                         ops.rms_norm(stream, args);
                         out.insert(out.end(), sum.begin(), sum.end());
                         return out;
                       }});
    }
    cases.push_back({named("rms_norm in place", static_cast<int>(cols)), RmsNormArgs::tolerance, cols,
                     [=](const OpTable& ops, Stream& stream) {
                       Random random(cols);
                       Floats x = random.floats(3 * cols);
                       const Floats weight = random.floats(cols);
                       const Floats& readable = x;
                       ops.rms_norm(stream, {view(readable, cols), {}, weight.data(), 1e-5f, view(x, cols)});
                       return x;
                     }});
    cases.push_back(
        {named("head_norm", static_cast<int>(cols)), HeadNormArgs::tolerance, cols,
         [=](const OpTable& ops, Stream& stream) {
           Random random(cols + 1);
           Floats x = random.floats(4 * 3 * cols);
           const Floats weight = random.floats(cols);
           ops.head_norm(stream, {view(x, 3 * cols), 3, static_cast<std::int32_t>(cols), weight.data(), 1e-6f});
           return x;
         }});
  }
}

void add_rowwise(std::vector<OpCase>& cases) {
  for (const std::int64_t cols : {1, 17, 64, 200}) {
    cases.push_back(
        {named("add", static_cast<int>(cols)), AddArgs::tolerance, cols, [=](const OpTable& ops, Stream& s) {
           Random random(cols);
           Floats x = random.floats(7 * cols);
           const Floats y = random.floats(7 * cols);
           ops.add(s, {view(x, cols), view(y, cols)});
           return x;
         }});
    cases.push_back({named("sigmoid_gate_add", static_cast<int>(cols)), SigmoidGateAddArgs::tolerance, cols,
                     [=](const OpTable& ops, Stream& s) {
                       Random random(cols);
                       const Floats gate = random.floats(9, 20.0f);
                       const Floats y = random.floats(9 * cols);
                       Floats out = random.floats(9 * cols);
                       ops.sigmoid_gate_add(s, {view(gate, 1), view(y, cols), view(out, cols)});
                       return out;
                     }});
    cases.push_back({named("gather_rows", static_cast<int>(cols)), GatherRowsArgs::tolerance, cols,
                     [=](const OpTable& ops, Stream& s) {
                       Random random(cols);
                       const Floats x = random.floats(6 * cols);
                       const std::vector<std::int32_t> rows = {5, 0, 0, 3, 2};
                       Floats out(rows.size() * static_cast<std::size_t>(cols));
                       ops.gather_rows(s, {view(x, cols), rows.data(), view(out, cols)});
                       return out;
                     }});
    for (const bool accumulate : {false, true}) {
      cases.push_back({named("moe_combine", static_cast<int>(cols), accumulate ? "accumulate" : "plain"),
                       MoeCombineArgs::tolerance, cols, [=](const OpTable& ops, Stream& s) {
                         Random random(cols);
                         const Floats y = random.floats(5 * 3 * cols);
                         const Floats weights = random.floats(5 * 3);
                         Floats out = random.floats(5 * cols);
                         ops.moe_combine(s, {view(y, cols), weights.data(), 3, view(out, cols), accumulate});
                         return out;
                       }});
    }
    for (const WeightFormat format : kFormats) {
      cases.push_back({named("embed", static_cast<int>(cols), format_name(format)), EmbedArgs::tolerance, cols,
                       [=](const OpTable& ops, Stream& s) {
                         Random random(cols);
                         const Packed table = random_packed(random, 37, cols, format);
                         const std::vector<std::int32_t> tokens = {36, 0, 17, 16, 15, 32};
                         Floats out(tokens.size() * static_cast<std::size_t>(cols));
                         ops.embed(s, {table.weight(), tokens.data(), view(out, cols)});
                         return out;
                       }});
    }
  }
  struct Rope {
    std::int32_t heads, head_dim, rotary;
  };
  for (const Rope& r : {Rope{1, 2, 2}, Rope{3, 64, 64}, Rope{2, 80, 40}, Rope{4, 10, 10}, Rope{2, 128, 64}}) {
    const std::int64_t cols = r.heads * r.head_dim;
    cases.push_back(
        {named("rope", r.heads, r.head_dim, r.rotary), RopeArgs::tolerance, cols, [=](const OpTable& ops, Stream& s) {
           Random random(cols);
           Floats x = random.floats(6 * cols);
           const Floats cos = random.floats(6 * r.rotary / 2);
           const Floats sin = random.floats(6 * r.rotary / 2);
           ops.rope(s, {view(x, cols), r.heads, r.head_dim, r.rotary, cos.data(), sin.data()});
           return x;
         }});
  }
}

// The bytes of the pages, what nobody writes among them.
void add_kv_write(std::vector<OpCase>& cases) {
  constexpr std::int32_t kHeads = 3, kBlocks = 4, kRows = 7;
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const std::int32_t block_size : {5, 16}) {
      for (const std::int32_t head_dim : {12, 64}) {
        cases.push_back({named("kv_write", dtype_name(type), block_size, head_dim), KvWriteArgs::tolerance, 1,
                         [=](const OpTable& ops, Stream& s) {
                           Random random(static_cast<std::uint64_t>(block_size + head_dim));
                           const std::int64_t width = std::int64_t{kHeads} * head_dim;
                           const Floats k = random.floats(kRows * width);
                           const Floats v = random.floats(kRows * width);
                           std::vector<std::int64_t> slots;
                           for (std::int64_t i = 0; i < kRows; ++i)
                             slots.push_back((i * 7 + 2) % (kBlocks * block_size));
                           const auto bytes =
                               static_cast<std::size_t>(kBlocks * block_size * width * dtype_bytes(type));
                           std::vector<std::uint8_t> keys(bytes, 0x11), values(bytes, 0x22);
                           KvPages pages;
                           pages.k = keys.data();
                           pages.v = values.data();
                           pages.type = type;
                           pages.num_blocks = kBlocks;
                           pages.block_size = block_size;
                           pages.kv_heads = kHeads;
                           pages.head_dim = head_dim;
                           ops.kv_write(s, {view(k, width), view(v, width), slots.data(), pages});
                           Floats out(keys.begin(), keys.end());
                           out.insert(out.end(), values.begin(), values.end());
                           return out;
                         }});
      }
    }
  }
}

void add_attention(std::vector<OpCase>& cases) {
  struct Shape {
    std::int32_t heads, kv_heads, head_dim, block_size, window;
    std::vector<SpanSpec> spans;
  };
  std::vector<Shape> shapes = {
      {1, 1, 16, 16, 0, {{0, 0, 1}}},
      {4, 4, 64, 16, 0, {{0, 0, 33}, {1, 70, 1}}},
      {8, 2, 64, 5, 0, {{0, 129, 7}, {1, 0, 1}, {2, 63, 2}}},
      {6, 1, 24, 1, 0, {{0, 0, 65}}},
      {16, 1, 40, 16, 0, {{0, 100, 29}}},
      {3, 3, 7, 5, 0, {{0, 10, 10}, {1, 200, 3}}},
      {4, 2, 32, 16, 1, {{0, 5, 3}}},
      {4, 2, 32, 5, 20, {{0, 90, 30}, {1, 300, 1}}},
      {2, 1, 128, 16, 64, {{0, 0, 150}}},
      {2, 2, 256, 64, 0, {{0, 64, 64}}},
      {8, 1, 32, 16, 0, {{0, 1299, 1}}},             // split into segments
      {4, 2, 32, 5, 0, {{0, 1023, 2}, {1, 0, 1}}},   // split, groups copied, at the edge of a segment
      {4, 2, 24, 16, 600, {{0, 1500, 1}}},           // a window over three segments
      {2, 1, 32, 32, 0, {{0, 490, 60}, {1, 5, 3}}},  // many rows over an edge
      {8, 8, 16, 16, 0, {{0, 1023, 1}}},             // with the many below: enough work that nothing is split
  };
  for (std::int32_t s = 1; s < 70; ++s) shapes.back().spans.push_back({s, 3, 1});
  for (const Shape& s : shapes) {
    for (const DType type : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
      const PagedSetup setup{s.heads, s.kv_heads, s.head_dim, s.block_size, s.window, type, 5};
      const std::string name =
          named("attention", s.heads, s.kv_heads, s.head_dim, s.block_size, s.window, dtype_name(type));
      cases.push_back({name, AttentionArgs::tolerance, s.heads * s.head_dim,
                       [=](const OpTable& ops, Stream& stream) { return attend(ops, stream, setup, s.spans); },
                       type == DType::kI8});
    }
  }
}

void add_router(std::vector<OpCase>& cases) {
  const auto add = [&](const RouterRule& rule, bool bias) {
    const std::string name =
        named("router", rule.experts, rule.top_k, rule.groups, rule.groups_kept, static_cast<int>(rule.score),
              static_cast<int>(rule.weights), static_cast<int>(rule.group_rule), bias ? "bias" : "plain");
    cases.push_back({name, RouterTopkArgs::tolerance, rule.top_k, [=](const OpTable& ops, Stream& stream) {
                       Random random(rule.experts + rule.top_k);
                       constexpr std::int64_t kTokens = 19;
                       const Floats logits = random.floats(kTokens * rule.experts, 4.0f);
                       const Floats biases = random.floats(rule.experts, 0.3f);
                       std::vector<std::int32_t> ids(static_cast<std::size_t>(kTokens * rule.top_k), -1);
                       Floats weights(ids.size());
                       ops.router_topk(stream, {rule, view(logits, rule.experts), bias ? biases.data() : nullptr,
                                                ids.data(), weights.data()});
                       weights.insert(weights.end(), ids.begin(), ids.end());
                       return weights;
                     }});
  };
  for (const RouterScore score :
       {RouterScore::kSoftmax, RouterScore::kSigmoid, RouterScore::kSqrtSoftplus, RouterScore::kIdentity}) {
    for (const RouterWeights weights : {RouterWeights::kRaw, RouterWeights::kRenormalize,
                                        RouterWeights::kSoftmaxOfSelected, RouterWeights::kSigmoidOfSelected}) {
      add({score, weights, GroupRule::kMax, 8, 2, 1, 1, 0.0f, 1.0f}, false);
      add({score, weights, GroupRule::kMax, 61, 8, 1, 1, 1e-20f, 2.5f}, true);
      add({score, weights, GroupRule::kTopTwoSum, 64, 6, 8, 4, 0.0f, 1.0f}, true);
      add({score, weights, GroupRule::kMax, 12, 3, 4, 1, 0.0f, 16.0f}, false);
    }
  }
  add({RouterScore::kSoftmax, RouterWeights::kRaw, GroupRule::kMax, 1, 1, 1, 1, 0.0f, 1.0f}, false);
}

struct FfnShape {
  std::int64_t hidden, inner;
  std::vector<std::int32_t> rows;  // per expert
};

Floats run_expert_ffn(const OpTable& ops, Stream& stream, const FfnShape& s, WeightFormat format,
                      Activation activation) {
  Random random(s.hidden + s.inner);
  const std::int32_t total = std::accumulate(s.rows.begin(), s.rows.end(), 0);
  const Floats x = random.floats(total * s.hidden);
  Floats y(x.size(), 5.0f);
  Floats scratch(static_cast<std::size_t>(total * s.inner));
  std::vector<Packed> weights;
  std::vector<ExpertGroup> groups;
  std::vector<std::int32_t> x_rows, out_rows;
  for (std::int32_t i = 0; i < total; ++i) {
    x_rows.push_back(random.below(total));
    out_rows.push_back(total - 1 - i);
  }
  for (std::size_t e = 0; e < s.rows.size(); ++e) {
    weights.push_back(random_packed(random, s.inner, s.hidden, format));
    weights.push_back(random_packed(random, s.inner, s.hidden, format));
    weights.push_back(random_packed(random, s.hidden, s.inner, format));
  }
  std::int32_t first = 0;
  for (std::size_t e = 0; e < s.rows.size(); ++e) {
    groups.push_back({{weights[3 * e].weight(), weights[3 * e + 1].weight(), weights[3 * e + 2].weight()},
                      x_rows.data() + first,
                      out_rows.data() + first,
                      s.rows[e]});
    first += s.rows[e];
  }
  ops.expert_ffn(stream, {view(x, s.hidden), view(y, s.hidden), groups.data(), static_cast<std::int32_t>(groups.size()),
                          activation, scratch.data()});
  return y;
}

void add_ffn_cases(std::vector<OpCase>& cases, const std::vector<FfnShape>& shapes,
                   const std::vector<WeightFormat>& formats, double tolerance) {
  const Activation activations[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu};
  int which = 0;
  for (const FfnShape& s : shapes) {
    for (const WeightFormat format : formats) {
      const Activation activation = activations[which++ % 4];
      const std::string name =
          named("expert_ffn", static_cast<int>(s.hidden), static_cast<int>(s.inner), static_cast<int>(s.rows.size()),
                format_name(format), static_cast<int>(activation));
      cases.push_back({name, tolerance, s.hidden, [=](const OpTable& ops, Stream& stream) {
                         return run_expert_ffn(ops, stream, s, format, activation);
                       }});
    }
  }
}

void add_expert_ffn(std::vector<OpCase>& cases) {
  add_ffn_cases(cases,
                {{16, 16, {1}},
                 {7, 5, {2, 0, 1}},
                 {64, 40, {0, 1, 3, 0}},
                 {200, 33, {13, 1, 5}},
                 {48, 130, {33, 0, 0, 7, 1}},
                 {96, 64, {70}}},
                kFormats, ExpertFfnArgs::tolerance);
  // The hidden row is rounded to int8 a second time: a difference in its last bit may move a code by one.
  add_ffn_cases(cases, {{256, 256, {1}}, {256, 512, {0, 1, 3, 0}}, {512, 256, {13, 1, 5, 0, 37}}}, kQuantized, 5e-3);
  add_ffn_cases(cases, {{256, 256, {1}}, {128, 384, {0, 1, 3, 0}}, {384, 128, {13, 1, 5, 0, 37}}}, {WeightFormat::kFp8},
                ExpertFfnArgs::tolerance);
}

struct MoeCase {
  std::int64_t hidden, inner;
  std::int32_t experts, top_k, rows;
  WeightFormat gate, down;
};

// Everything of a sparse FFN after its router, with ids that leave some experts out.
Floats run_moe_ffn(const OpTable& ops, Stream& stream, const MoeCase& c) {
  Random random(static_cast<std::uint64_t>(c.rows * 31 + c.hidden));
  std::vector<Packed> weights;
  std::vector<const std::byte*> gate, up, down;
  for (std::int32_t e = 0; e < c.experts; ++e) {
    weights.push_back(random_packed(random, c.inner, c.hidden, c.gate));
    weights.push_back(random_packed(random, c.inner, c.hidden, c.gate));
    weights.push_back(random_packed(random, c.hidden, c.inner, c.down));
    gate.push_back(weights[weights.size() - 3].bytes.data());
    up.push_back(weights[weights.size() - 2].bytes.data());
    down.push_back(weights.back().bytes.data());
  }
  const std::int32_t assignments = c.rows * c.top_k;
  const Floats x = random.floats(c.rows * c.hidden);
  const Floats by = random.floats(assignments);
  std::vector<std::int32_t> ids;
  for (std::int32_t a = 0; a < assignments; ++a) ids.push_back((a % c.top_k * 5 + random.below(3)) % c.experts);
  Floats y(static_cast<std::size_t>(assignments * c.hidden)), scratch(static_cast<std::size_t>(assignments * c.inner));
  Floats out(x.size());
  std::int32_t distinct = -1;
  MoeFfnArgs args{view(x, c.hidden), ids.data(),     by.data(),           c.top_k,  {}, Activation::kSilu,
                  view(y, c.hidden), scratch.data(), view(out, c.hidden), &distinct};
  args.experts = {gate.data(), up.data(), down.data(), c.gate, c.down, c.experts, c.inner};
  ops.moe_ffn(stream, args);
  out.insert(out.end(), static_cast<std::size_t>(c.hidden), static_cast<float>(distinct));
  return out;
}

// Rows whose values repeat, so that there are ties everywhere; tokens as floats.
Floats run_sample(const OpTable& ops, Stream& stream, std::int64_t vocab, int seed) {
  constexpr std::int64_t kRows = 24;
  Random random(static_cast<std::uint64_t>(seed * 977 + vocab));
  Floats logits = random.floats(kRows * vocab, 8.0f);
  std::vector<SampleRule> rules;
  for (std::int64_t r = 0; r < kRows; ++r) {
    SampleRule rule;
    rule.draw = (static_cast<double>(random.uniform()) + 1) / 2;
    rule.temperature = r % 6 == 0 ? 0.0f : 0.3f + static_cast<float>(r % 5) * 0.4f;
    rule.top_p = r % 3 == 0 ? 1.0f : 0.2f * static_cast<float>(r % 5);
    rule.min_p = r % 4 == 1 ? 0.05f : 0.0f;
    rule.top_k = r % 2 == 0 ? 0 : 1 + random.below(static_cast<std::int32_t>(vocab) + 4);
    rule.wanted = r != 13;
    rules.push_back(rule);
    float* row = logits.data() + r * vocab;
    if (r % 3 == 2) std::transform(row, row + vocab, row, [](float x) { return std::round(x); });
    if (r == 21) row[random.below(static_cast<std::int32_t>(vocab))] = std::numeric_limits<float>::infinity();
  }
  std::vector<std::int32_t> tokens(kRows, -7);
  const Floats& rows = logits;
  ops.sample(stream, SampleArgs{view(rows, vocab), rules.data(), tokens.data()});
  return {tokens.begin(), tokens.end()};
}

std::vector<OpCase> made_device_cases() {
  std::vector<OpCase> cases;
  for (const int vocab : {1, 7, 100, 1000, 5003}) {
    for (int seed = 0; seed < (vocab < 1000 ? 3 : 1); ++seed) {
      cases.push_back({named("sample", vocab, seed), 0, 1,
                       [=](const OpTable& ops, Stream& stream) { return run_sample(ops, stream, vocab, seed); }});
    }
  }
  const WeightFormat bf16 = WeightFormat::kBF16, q8 = WeightFormat::kQ8_0, q4 = WeightFormat::kQ4_K;
  const std::vector<MoeCase> shapes = {{64, 40, 8, 2, 1, bf16, bf16},
                                       {48, 33, 16, 3, 7, bf16, bf16},
                                       {64, 40, 40, 4, 90, bf16, bf16},
                                       {33, 20, 8, 2, 11, WeightFormat::kF32, bf16},
                                       {256, 256, 8, 2, 21, q8, q8},
                                       {256, 256, 8, 2, 3, q4, WeightFormat::kQ6_K},
                                       {64, 32, 8, 2, 9, WeightFormat::kQ4_0, q8}};
  for (const MoeCase& c : shapes) {
    const std::string name = named("moe_ffn", static_cast<int>(c.hidden), static_cast<int>(c.inner), c.experts, c.top_k,
                                   c.rows, format_name(c.gate), format_name(c.down));
    // As expert_ffn: the hidden row is rounded to int8 a second time.
    const double tolerance = is_quantized(c.gate) ? 5e-3 : MoeFfnArgs::tolerance;
    cases.push_back(
        {name, tolerance, c.hidden, [=](const OpTable& ops, Stream& stream) { return run_moe_ffn(ops, stream, c); }});
  }
  return cases;
}

}  // namespace

const std::vector<OpCase>& device_cases() {
  static const std::vector<OpCase> cases = made_device_cases();
  return cases;
}

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> cases = [] {
    std::vector<OpCase> list;
    add_linear(list);
    add_quantized_linear(list);
    add_norms(list);
    add_rowwise(list);
    add_kv_write(list);
    add_attention(list);
    add_router(list);
    add_expert_ffn(list);
    return list;
  }();
  return cases;
}

}  // namespace foregate::testing
