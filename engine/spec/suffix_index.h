// Where the last tokens of a text stood before, in the text itself or in another one: for every token the place before
// it whose last tokens have the same hash (chains, as LZ77 coders keep them), so that a lookup walks few places and an
// append costs one store. Bounded: a full index of a fixed size forgets its oldest tokens; one without a bound doubles.
// Not thread-safe; owned by a drafter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/api/types.h"

namespace foregate {

class SuffixIndex {
 public:
  static constexpr std::size_t kLeast = 2;         // tokens that must be equal
  static constexpr std::size_t kMostPlaces = 24;   // that one lookup returns
  static constexpr std::size_t kMostVisited = 96;  // that it looks at
  static constexpr Token kBetween = -1;            // never drafted, equal to nothing: between two texts

  // `capacity` tokens are kept, rounded up to a power of two; 0: all.
  explicit SuffixIndex(std::size_t capacity);

  void append(Token token);
  std::uint64_t size() const { return end_; }  // tokens ever appended
  std::size_t bytes() const;

  struct Place {
    std::uint64_t next = 0;  // number of the token that followed
    std::size_t length = 0;  // tokens before it that equal the end of the text
  };
  // Places where at least kLeast and at most `longest` last tokens of `text` stood, latest first. Where `text` is what
  // was appended here, its own end is not among them.
  std::vector<Place> find(std::span<const Token> text, std::size_t longest) const;
  // kBetween where nothing (or nothing any more) stands.
  Token at(std::uint64_t number) const;

 private:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::size_t bucket(Token before, Token last) const;
  void link(std::uint64_t number);
  void grow();
  std::size_t slot(std::uint64_t number) const { return static_cast<std::size_t>(number) & (tokens_.size() - 1); }

  bool bounded_;
  std::uint64_t end_ = 0;
  std::vector<Token> tokens_;           // by number, modulo the capacity
  std::vector<std::uint64_t> earlier_;  // number after the previous pair of the same hash
  std::vector<std::uint64_t> latest_;   // by hash: number after the latest such pair
};

}  // namespace foregate
