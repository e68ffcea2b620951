// Arguments of rotary embedding and paged attention.
#pragma once

#include <cstdint>

#include "kernels/api/dtype.h"
#include "kernels/api/view.h"

namespace foregate {

// Key and value pages of one layer (PagedAttention, arXiv 2309.06180); elements of `type`.
// v: [num_blocks][kv_heads][block_size][head_dim].
// k: [num_blocks][kv_heads][groups][head_dim][positions of the group]: the positions of a block in groups of
// kKeyGroup, the last one narrower when block_size is no multiple of it. A vector of keys at one dimension is
// contiguous, so scores need no transposition. A group of keys begins at the same element in k as its values in v.
// With int8 each row of head_dim elements, of one position and head, has a scale: an element is code * scale, where
// scale = the row's largest magnitude / 127 and code = the nearest integer to x * (127 / that magnitude). A row with a
// value that is not finite has codes 0 and scale NaN.
struct KvPages {
  void* k = nullptr;
  void* v = nullptr;
  DType type = DType::kF32;  // f32, f16, bf16 or int8
  std::int64_t num_blocks = 0;
  std::int32_t block_size = 0;  // positions in one block; multiples of kKeyGroup are read in place, others are copied
  std::int32_t kv_heads = 0;
  std::int32_t head_dim = 0;
  float* k_scales = nullptr;  // of int8 alone: [num_blocks][kv_heads][block_size]
  float* v_scales = nullptr;
};
inline constexpr std::int32_t kKeyGroup = 16;

// Bytes that the keys, or the values, of one position and head take.
constexpr std::int64_t kv_row_bytes(DType type, std::int64_t head_dim) {
  return head_dim * dtype_bytes(type) + (type == DType::kI8 ? 4 : 0);
}

// Element of the values of (block, head, position in the block) at dimension 0.
constexpr std::int64_t value_index(const KvPages& p, std::int64_t block, std::int64_t head, std::int64_t position) {
  return ((block * p.kv_heads + head) * p.block_size + position) * p.head_dim;
}
// Its scale, and that of the key.
constexpr std::int64_t scale_index(const KvPages& p, std::int64_t block, std::int64_t head, std::int64_t position) {
  return (block * p.kv_heads + head) * p.block_size + position;
}
// Element of the same key at dimension 0, and the distance to the next dimension.
constexpr std::int64_t key_index(const KvPages& p, std::int64_t block, std::int64_t head, std::int64_t position) {
  return value_index(p, block, head, position / kKeyGroup * kKeyGroup) + position % kKeyGroup;
}
constexpr std::int64_t key_step(const KvPages& p, std::int64_t position) {
  const std::int64_t left = p.block_size - position / kKeyGroup * kKeyGroup;
  return left < kKeyGroup ? left : kKeyGroup;
}

// Rows of one sequence in this step. Row first_row + i is at position first_position + i and
// attends to positions 0 .. first_position + i through block_table.
// A branch of a tree of tokens has its last positions anywhere: those from tail_first on are at tail_slots, block *
// block_size + offset each. Only where the device's memory is the host's.
struct SeqSpan {
  std::int32_t first_row = 0;
  std::int32_t rows = 0;
  std::int32_t first_position = 0;
  const std::int32_t* block_table = nullptr;  // block of position p is block_table[p / block_size]
  const std::int64_t* tail_slots = nullptr;   // null: all positions are where block_table says
  std::int32_t tail_first = 0;                // without tail_slots of no meaning

  bool tail_reaches(std::int64_t position) const { return tail_slots != nullptr && position >= tail_first; }
  std::int64_t slot(std::int64_t position, std::int32_t block_size) const {
    if (tail_reaches(position)) return tail_slots[position - tail_first];
    return static_cast<std::int64_t>(block_table[position / block_size]) * block_size + position % block_size;
  }
};

// Rotary embedding (arXiv 2104.09864), rotate-half form, in place on x [T, heads * head_dim].
// The first rotary_dim elements of each head turn; cos and sin are [T, rotary_dim / 2].
struct RopeArgs {
  static constexpr double tolerance = 1e-5;
  View2<float> x;
  std::int32_t heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t rotary_dim = 0;
  const float* cos = nullptr;
  const float* sin = nullptr;
  std::int64_t bytes_moved() const { return x.rows * heads * rotary_dim * 8; }
};

// Stores k and v rows [T, kv_heads * head_dim] at slot_mapping[t] = block * block_size + offset.
struct KvWriteArgs {
  static constexpr double tolerance = 0.0;
  View2<const float> k;
  View2<const float> v;
  const std::int64_t* slot_mapping = nullptr;  // [T]
  KvPages pages;
  std::int64_t bytes_moved() const { return k.rows * k.cols * 2 * (4 + dtype_bytes(pages.type)); }
};

// Causal softmax attention over pages with grouped query heads:
// query head h reads kv head h / (heads / kv_heads). window > 0 keeps the last `window` positions.
// The order of the sum over positions is fixed by the absolute position alone, so neither the
// block size nor the way a prompt is cut into chunks changes a bit.
struct AttentionArgs {
  static constexpr double tolerance = 1e-5;
  View2<const float> q;  // [T, heads * head_dim]
  View2<float> out;      // [T, heads * head_dim]
  std::int32_t heads = 0;
  float scale = 1.0f;
  std::int32_t window = 0;
  const SeqSpan* seqs = nullptr;
  std::int32_t num_seqs = 0;
  KvPages pages;
  std::int64_t bytes_moved() const {
    std::int64_t positions = 0;
    for (std::int32_t i = 0; i < num_seqs; ++i) positions += seqs[i].first_position + seqs[i].rows;
    return positions * pages.kv_heads * 2 * kv_row_bytes(pages.type, pages.head_dim) + q.rows * q.cols * 8;
  }
};

}  // namespace foregate
