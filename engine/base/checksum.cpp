#include "engine/base/checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>

#include "kernels/api/check.h"

namespace foregate {

static_assert(std::endian::native == std::endian::little, "checksums of numbers are taken from their bytes");

std::uint64_t checksum(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t checksum(std::string_view text) {
  return XXH3_64bits(text.data(), text.size());
}

std::uint64_t checksum_of(std::span<const std::uint64_t> checksums) {
  return checksum(std::as_bytes(checksums));
}

struct PiecewiseChecksum::State {
  State() : xxh(XXH3_createState()) { CHECK(xxh != nullptr); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { XXH3_freeState(xxh); }
  XXH3_state_t* xxh;
};

PiecewiseChecksum::PiecewiseChecksum(std::uint64_t piece_bytes)
    : state_(std::make_unique<State>()), piece_bytes_(piece_bytes) {
  CHECK(piece_bytes > 0);
  XXH3_64bits_reset(state_->xxh);
}

PiecewiseChecksum::~PiecewiseChecksum() = default;

void PiecewiseChecksum::add(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), piece_bytes_ - in_piece_));
    XXH3_64bits_update(state_->xxh, bytes.data(), count);
    in_piece_ += count;
    bytes = bytes.subspan(count);
    if (in_piece_ == piece_bytes_) end_piece();
  }
}

void PiecewiseChecksum::end_piece() {
  pieces_.push_back(XXH3_64bits_digest(state_->xxh));
  XXH3_64bits_reset(state_->xxh);
  in_piece_ = 0;
}

std::uint64_t PiecewiseChecksum::value() {
  if (in_piece_ > 0) end_piece();
  return checksum_of(pieces_);
}

std::string checksum_text(std::uint64_t value) {
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, value >>= 4) text[static_cast<std::size_t>(i)] = "0123456789abcdef"[value & 15];
  return text;
}

std::optional<std::uint64_t> parse_checksum(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return std::nullopt;
    value = value << 4 | static_cast<std::uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return value;
}

}  // namespace foregate
