#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/ref/element.h"
#include "kernels/ref/ref_ops.h"

namespace foregate::ref {
namespace {

// The scale of a row of int8 elements; 1 of other types.
double scale_of(const KvPages& pages, const float* scales, std::int64_t block, std::int64_t head, std::int64_t place) {
  return pages.type == DType::kI8 ? scales[scale_index(pages, block, head, place)] : 1.0;
}

// What a row of int8 elements holds (KvPages); element i goes to codes[i * step].
float write_codes(const float* x, std::int32_t dim, std::int8_t* codes, std::int64_t step) {
  float largest = 0;
  bool finite = true;
  for (std::int32_t d = 0; d < dim; ++d) {
    largest = std::max(largest, std::fabs(x[d]));
    finite = finite && std::isfinite(x[d]);
  }
  const float inverse = std::isfinite(127.0f / largest) ? 127.0f / largest : 0.0f;
  for (std::int32_t d = 0; d < dim; ++d) {
    codes[d * step] = finite ? static_cast<std::int8_t>(std::nearbyint(x[d] * inverse)) : std::int8_t{0};
  }
  return finite ? largest / 127.0f : std::numeric_limits<float>::quiet_NaN();
}

void attend_one(const AttentionArgs& args, const SeqSpan& seq, std::int64_t row, std::int32_t head) {
  const KvPages& pages = args.pages;
  const std::int64_t kv_head = head / (args.heads / pages.kv_heads);
  const std::int64_t position = seq.first_position + row;
  const std::int64_t first = args.window > 0 ? std::max<std::int64_t>(0, position - args.window + 1) : 0;
  const float* q = args.q.data + (seq.first_row + row) * args.q.stride + head * pages.head_dim;
  float* out = args.out.data + (seq.first_row + row) * args.out.stride + head * pages.head_dim;
  const auto block_of = [&](std::int64_t p) { return seq.slot(p, pages.block_size) / pages.block_size; };
  const auto place_of = [&](std::int64_t p) { return seq.slot(p, pages.block_size) % pages.block_size; };
  std::vector<double> scores;
  for (std::int64_t p = first; p <= position; ++p) {
    const std::int64_t key = key_index(pages, block_of(p), kv_head, place_of(p));
    const std::int64_t step = key_step(pages, place_of(p));
    double dot = 0;
    for (std::int32_t d = 0; d < pages.head_dim; ++d) {
      dot += static_cast<double>(q[d]) * read_element(pages.k, pages.type, key + d * step);
    }
    scores.push_back(dot * scale_of(pages, pages.k_scales, block_of(p), kv_head, place_of(p)) * args.scale);
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double& score : scores) total += score = std::exp(score - top);
  for (std::int32_t d = 0; d < pages.head_dim; ++d) {
    double sum = 0;
    for (std::int64_t p = first; p <= position; ++p) {
      const std::int64_t value = value_index(pages, block_of(p), kv_head, place_of(p));
      const double scale = scale_of(pages, pages.v_scales, block_of(p), kv_head, place_of(p));
      sum += scores[p - first] * scale * read_element(pages.v, pages.type, value + d);
    }
    out[d] = static_cast<float>(sum / total);
  }
}

}  // namespace

void rope(Stream&, const RopeArgs& args) {
  const std::int32_t half = args.rotary_dim / 2;
  for (std::int64_t t = 0; t < args.x.rows; ++t) {
    for (std::int32_t h = 0; h < args.heads; ++h) {
      float* x = args.x.data + t * args.x.stride + h * args.head_dim;
      for (std::int32_t i = 0; i < half; ++i) {
        const double c = args.cos[t * half + i];
        const double s = args.sin[t * half + i];
        const double low = x[i];
        const double high = x[i + half];
        x[i] = static_cast<float>(low * c - high * s);
        x[i + half] = static_cast<float>(high * c + low * s);
      }
    }
  }
}

void kv_write(Stream&, const KvWriteArgs& args) {
  const KvPages& pages = args.pages;
  for (std::int64_t t = 0; t < args.k.rows; ++t) {
    const std::int64_t block = args.slot_mapping[t] / pages.block_size;
    const std::int64_t position = args.slot_mapping[t] % pages.block_size;
    for (std::int32_t h = 0; h < pages.kv_heads; ++h) {
      const std::int64_t key = key_index(pages, block, h, position);
      const std::int64_t value = value_index(pages, block, h, position);
      if (pages.type == DType::kI8) {
        const std::int64_t scale = scale_index(pages, block, h, position);
        const float* k = args.k.data + t * args.k.stride + h * pages.head_dim;
        const float* v = args.v.data + t * args.v.stride + h * pages.head_dim;
        const auto codes = [](void* from, std::int64_t at) { return static_cast<std::int8_t*>(from) + at; };
        pages.k_scales[scale] = write_codes(k, pages.head_dim, codes(pages.k, key), key_step(pages, position));
        pages.v_scales[scale] = write_codes(v, pages.head_dim, codes(pages.v, value), 1);
        continue;
      }
      for (std::int32_t d = 0; d < pages.head_dim; ++d) {
        const std::int64_t from = h * pages.head_dim + d;
        write_element(pages.k, pages.type, key + d * key_step(pages, position), args.k.data[t * args.k.stride + from]);
        write_element(pages.v, pages.type, value + d, args.v.data[t * args.v.stride + from]);
      }
    }
  }
}

void attention(Stream&, const AttentionArgs& args) {
  for (std::int32_t s = 0; s < args.num_seqs; ++s) {
    for (std::int64_t row = 0; row < args.seqs[s].rows; ++row) {
      for (std::int32_t head = 0; head < args.heads; ++head) attend_one(args, args.seqs[s], row, head);
    }
  }
}

}  // namespace foregate::ref
