// Names KV blocks by what decides their bytes: the model, the tenant's salt, and every token up to the end of the
// block. A chain of SipHash-2-4-128 (Aumasson and Bernstein, 2012) under a secret of this process, so that nobody
// outside can make two prompts meet; PrefixCache compares the tokens all the same. Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/api/types.h"

namespace foregate {

using HashSecret = std::array<std::uint64_t, 2>;

struct BlockKey {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const BlockKey&) const = default;
};

struct BlockKeyHash {
  std::size_t operator()(const BlockKey& key) const noexcept { return static_cast<std::size_t>(key.low); }
};

BlockKey siphash128(const HashSecret& secret, std::span<const std::byte> bytes);

// A secret from the operating system's entropy.
HashSecret draw_secret();

class BlockNamer {
 public:
  // `model` says which cache contents are exchangeable at all.
  BlockNamer(const HashSecret& secret, std::string_view model);
  BlockKey root(std::string_view salt) const;  // what comes before the first block
  BlockKey next(const BlockKey& before, std::span<const Token> block) const;

 private:
  HashSecret secret_;
  BlockKey model_;
};

}  // namespace foregate
