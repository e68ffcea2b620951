// XXH3-64 (https://github.com/Cyan4973/xxHash), the checksum of packed weights: as fast as memory, and it finds
// damage. It is no signature. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace foregate {

std::uint64_t checksum(std::span<const std::byte> bytes);
std::uint64_t checksum(std::string_view text);
// Of the numbers themselves, eight little-endian bytes each.
std::uint64_t checksum_of(std::span<const std::uint64_t> checksums);

// The checksum of a unit of packed weights, which is checksum_of() those of its pieces, from bytes that come in order.
class PiecewiseChecksum {
 public:
  explicit PiecewiseChecksum(std::uint64_t piece_bytes);
  ~PiecewiseChecksum();
  void add(std::span<const std::byte> bytes);
  std::uint64_t value();  // once, after the last bytes

 private:
  void end_piece();
  struct State;
  std::unique_ptr<State> state_;
  std::uint64_t piece_bytes_;
  std::uint64_t in_piece_ = 0;
  std::vector<std::uint64_t> pieces_;
};

// Sixteen lower-case hexadecimal digits, and back; none for any other text.
std::string checksum_text(std::uint64_t value);
std::optional<std::uint64_t> parse_checksum(std::string_view text);

}  // namespace foregate
