#include "engine/kv/block_key.h"

#include <bit>
#include <cstring>
#include <random>
#include <vector>

namespace foregate {
namespace {

struct Sip {
  std::uint64_t v0, v1, v2, v3;

  explicit Sip(const HashSecret& k)
      : v0(0x736f6d6570736575ULL ^ k[0]),
        v1(0x646f72616e646f6dULL ^ k[1] ^ 0xee),  // 0xee: the variant of 128 bits
        v2(0x6c7967656e657261ULL ^ k[0]),
        v3(0x7465646279746573ULL ^ k[1]) {}

  void rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1, v1 = std::rotl(v1, 13) ^ v0, v0 = std::rotl(v0, 32);
      v2 += v3, v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3, v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1, v1 = std::rotl(v1, 17) ^ v2, v2 = std::rotl(v2, 32);
    }
  }
  void add(std::uint64_t word) {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  }
  BlockKey end() {
    v2 ^= 0xee;
    rounds(4);
    BlockKey key;
    key.low = v0 ^ v1 ^ v2 ^ v3;
    v1 ^= 0xdd;
    rounds(4);
    key.high = v0 ^ v1 ^ v2 ^ v3;
    return key;
  }
};

}  // namespace

BlockKey siphash128(const HashSecret& secret, std::span<const std::byte> bytes) {
  Sip sip(secret);
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    sip.add(word);
  }
  std::uint64_t last = static_cast<std::uint64_t>(bytes.size()) << 56;
  for (std::size_t i = at; i < bytes.size(); ++i) last |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * (i - at));
  sip.add(last);
  return sip.end();
}

HashSecret draw_secret() {
  std::random_device entropy;
  const auto word = [&] { return (static_cast<std::uint64_t>(entropy()) << 32) | entropy(); };
  const std::uint64_t first = word();
  return {first, word()};
}

BlockNamer::BlockNamer(const HashSecret& secret, std::string_view model)
    : secret_(secret), model_(siphash128(secret, std::as_bytes(std::span(model)))) {}

BlockKey BlockNamer::root(std::string_view salt) const {
  std::vector<std::byte> bytes(sizeof(BlockKey) + salt.size());
  std::memcpy(bytes.data(), &model_, sizeof(BlockKey));
  if (!salt.empty()) std::memcpy(bytes.data() + sizeof(BlockKey), salt.data(), salt.size());
  return siphash128(secret_, bytes);
}

BlockKey BlockNamer::next(const BlockKey& before, std::span<const Token> block) const {
  std::vector<std::byte> bytes(sizeof(BlockKey) + block.size_bytes());
  std::memcpy(bytes.data(), &before, sizeof(BlockKey));
  std::memcpy(bytes.data() + sizeof(BlockKey), block.data(), block.size_bytes());
  return siphash128(secret_, bytes);
}

}  // namespace foregate
