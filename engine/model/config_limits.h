// The bounds within which a model's sizes are believed, wherever they are read from.
#pragma once

#include <cstdint>

namespace foregate {

inline constexpr std::int64_t kMaxWidth = 1 << 20;  // hidden and intermediate sizes
inline constexpr std::int64_t kMaxVocab = 1 << 24;
inline constexpr std::int64_t kMaxLayers = 1024;
inline constexpr std::int64_t kMaxHeads = 4096;
inline constexpr std::int64_t kMaxHeadDim = 4096;
inline constexpr std::int64_t kMaxExperts = 4096;
inline constexpr std::int64_t kMaxPositions = 1 << 28;
inline constexpr double kMaxRopeTheta = 1e12;
inline constexpr double kMaxRopeFactor = 1e4;

}  // namespace foregate
