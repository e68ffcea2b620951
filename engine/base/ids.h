// Identifiers that do not convert into one another.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace foregate {

template <class Tag, class Int>
struct Id {
  Int value = 0;
  auto operator<=>(const Id&) const = default;
};

using RequestId = Id<struct RequestTag, std::uint64_t>;
using SeqId = Id<struct SeqTag, std::uint64_t>;
using BlockId = Id<struct BlockTag, std::int32_t>;
using LayerId = Id<struct LayerTag, std::int32_t>;
using ExpertId = Id<struct ExpertTag, std::int32_t>;
using RankId = Id<struct RankTag, std::int32_t>;

}  // namespace foregate

template <class Tag, class Int>
struct std::hash<foregate::Id<Tag, Int>> {
  std::size_t operator()(foregate::Id<Tag, Int> id) const noexcept { return std::hash<Int>{}(id.value); }
};
