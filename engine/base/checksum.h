// XXH3-64 (https://github.com/Cyan4973/xxHash), the checksum of packed weights: as fast as memory, and it finds
// damage. It is no signature. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace foregate {

std::uint64_t checksum(std::span<const std::byte> bytes);
std::uint64_t checksum(std::string_view text);
// Of the numbers themselves, eight little-endian bytes each.
std::uint64_t checksum_of(std::span<const std::uint64_t> checksums);

// Sixteen lower-case hexadecimal digits, and back; none for any other text.
std::string checksum_text(std::uint64_t value);
std::optional<std::uint64_t> parse_checksum(std::string_view text);

}  // namespace foregate
