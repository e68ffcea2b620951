#include "engine/spec/suffix_index.h"

#include <algorithm>
#include <bit>

namespace foregate {
namespace {

constexpr std::size_t kFirstCapacity = 64;

}  // namespace

SuffixIndex::SuffixIndex(std::size_t capacity)
    : bounded_(capacity > 0),
      tokens_(std::bit_ceil(std::max(capacity, kFirstCapacity)), kBetween),
      earlier_(tokens_.size(), kNone),
      latest_(tokens_.size(), kNone) {}

std::size_t SuffixIndex::bytes() const {
  return tokens_.size() * (sizeof(Token) + 2 * sizeof(std::uint64_t));
}

std::size_t SuffixIndex::bucket(Token before, Token last) const {
  const auto key =
      static_cast<std::uint64_t>(static_cast<std::uint32_t>(before)) << 32 | static_cast<std::uint32_t>(last);
  return static_cast<std::size_t>(key * 0x9e3779b97f4a7c15ULL >> 32) & (latest_.size() - 1);
}

Token SuffixIndex::at(std::uint64_t number) const {
  if (number >= end_ || end_ - number > tokens_.size()) return kBetween;
  return tokens_[slot(number)];
}

// The pair before `number` becomes the latest of its hash.
void SuffixIndex::link(std::uint64_t number) {
  const Token before = number < kLeast ? kBetween : at(number - 2);
  const Token last = number < kLeast ? kBetween : at(number - 1);
  earlier_[slot(number)] = kNone;
  if (before == kBetween || last == kBetween) return;
  std::uint64_t& latest = latest_[bucket(before, last)];
  earlier_[slot(number)] = latest;
  latest = number;
}

void SuffixIndex::grow() {
  SuffixIndex larger(tokens_.size() * 2);
  for (std::uint64_t number = 0; number < end_; ++number) larger.append(at(number));
  larger.bounded_ = false;
  *this = std::move(larger);
}

// A pair is linked when the token after it comes: only then is there something to draft.
void SuffixIndex::append(Token token) {
  if (!bounded_ && end_ == tokens_.size()) grow();
  const std::uint64_t number = end_;
  link(number);
  tokens_[slot(number)] = token;
  ++end_;
}

std::vector<SuffixIndex::Place> SuffixIndex::find(std::span<const Token> text, std::size_t longest) const {
  std::vector<Place> places;
  if (text.size() < kLeast || longest < kLeast) return places;
  const std::size_t limit = std::min(longest, text.size());
  std::uint64_t number = latest_[bucket(text[text.size() - 2], text.back())];
  std::uint64_t after = kNone;
  for (std::size_t seen = 0; seen < kMostVisited && places.size() < kMostPlaces; ++seen) {
    // Chains only go back; what is no earlier than the place before it was overwritten.
    if (number == kNone || number >= after || number >= end_ || end_ - number > tokens_.size()) break;
    std::size_t length = 0;
    while (length < limit && length < number && at(number - 1 - length) == text[text.size() - 1 - length]) ++length;
    if (length >= kLeast) places.push_back({number, length});
    after = number;
    number = earlier_[slot(number)];
  }
  return places;
}

}  // namespace foregate
