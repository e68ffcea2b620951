// Arguments of the sampling op: one token from each row of logits, on a device that has no need to show them.
#pragma once

#include <cstdint>

#include "kernels/api/view.h"

namespace foregate {

// How the token of a row is chosen, as engine/sample/sampler.h has it: the greatest logit where temperature is below
// 1e-5 (ties to the lowest id); else by min_p, top_k (ties with the k-th stay), top_p (ties to the lower id) and one
// draw among what is left, in order of the ids.
struct SampleRule {
  double draw = 0.0;  // in [0, 1)
  float temperature = 0.0f;
  float top_p = 1.0f;
  float min_p = 0.0f;
  std::int32_t top_k = 0;  // 0: all
  bool wanted = true;      // false: the row is left alone
};

inline constexpr std::int32_t kSampleNotFinite = -2;  // instead of a token: the row has a NaN or an infinity
inline constexpr std::int32_t kNotSampled = -1;       // of a row that was not wanted

// tokens[r] = the token of row r. A draw that falls within 1e-6 of the border between two tokens may take either.
struct SampleArgs {
  View2<const float> logits;          // [R, vocab]
  const SampleRule* rules = nullptr;  // [R], host memory
  std::int32_t* tokens = nullptr;     // [R]
  std::int64_t bytes_moved() const { return logits.rows * logits.cols * 4; }
};

}  // namespace foregate
