// Numbers that the writer and the reader of traces share (trace.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace foregate {

inline constexpr std::string_view kTraceMagic = "FGROUTES";
inline constexpr std::size_t kTraceFixedHeader = 48;  // up to the names
inline constexpr std::size_t kTraceFrameHeader = 16;
inline constexpr std::size_t kTraceStepHeader = 20;  // up to the rows
inline constexpr std::size_t kTraceLayerHeader = 8;
inline constexpr std::uint32_t kTraceStepFrame = 1;
inline constexpr std::uint32_t kTraceEndFrame = 2;
inline constexpr std::uint32_t kMaxTraceLayers = 4096;
inline constexpr std::uint32_t kMaxTraceExperts = 1 << 16;  // ids are u16
inline constexpr std::uint32_t kMaxTraceTopK = 1024;
inline constexpr std::uint32_t kMaxTraceName = 256;
inline constexpr std::uint32_t kMaxTracePayload = 1U << 30;

constexpr std::size_t bytes_of_bits(std::size_t bits) {
  return (bits + 7) / 8;
}
// Bytes of a step's rows.
constexpr std::size_t trace_rows_bytes(std::size_t rows) {
  return rows * 12 + 3 * bytes_of_bits(rows);
}
// Where in that the marks of rows begin: of prompts, of drafts, of drafts that stood.
constexpr std::size_t trace_marks(std::size_t rows, std::size_t which) {
  return rows * 12 + which * bytes_of_bits(rows);
}
// Bytes of one layer in the payload of a step.
constexpr std::size_t trace_layer_bytes(std::size_t assignments) {
  return kTraceLayerHeader + assignments * 6 + bytes_of_bits(assignments);
}

}  // namespace foregate
