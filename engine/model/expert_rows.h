// The bodies of the messages of an exchange: rows with the experts they go to, and what the experts made of them, or
// why they made nothing. A receiver checks every count and index against what it holds before it uses one. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace foregate {

struct ExpertRowsLimits {
  std::int64_t max_rows = 0;  // of one step
  std::int32_t top_k = 0;
  std::int64_t hidden = 0;
  std::int32_t layers = 0;
  std::int32_t experts = 0;
};

// Rows of drafts that stood, of one layer and one place of the drafts: what plain decoding would have had as a step.
struct StoodRows {
  std::vector<std::int32_t> experts;  // ascending
  std::vector<std::int32_t> rows;     // of each, at least 1
};
inline constexpr std::size_t kMaxStoodPlaces = 64;  // that one exchange tells of

// Which message of an exchange it is: one of several brings the rows that none before it brought, and experts behind
// those of the one before.
struct ExchangePart {
  std::int32_t number = 0;
  std::int32_t of = 1;
  std::int32_t half = 0;                               // of a step that runs in two halves: 1 or 2, else 0
  bool alone() const { return of == 1 && half == 0; }  // nothing comes before its answer was read
};
inline constexpr std::int32_t kMaxExchangeParts = 16;

// Some rows of a layer's input and their way through one rank's experts. Outputs come in the order of `x_rows`.
struct ExpertRows {
  LayerId layer;
  ExchangePart part;
  bool prompt = false;                   // of a step with prompt rows beyond one per sequence
  std::int64_t rows = 0;                 // at least 1 in the first part
  std::int64_t rows_before = 0;          // of the exchange, in earlier parts; x_rows may name them
  std::vector<std::int32_t> experts;     // ascending
  std::vector<std::int32_t> group_rows;  // of each, at least 1
  std::vector<std::int32_t> drafted;     // of each, rows of drafts: they count once they stood
  std::vector<std::int32_t> x_rows;      // group by group: which row of the exchange
  std::vector<StoodRows> stood;          // of this layer in earlier steps, oldest first
};

// The largest bodies that the limits allow.
std::uint64_t max_rows_bytes(const ExpertRowsLimits& limits);
std::uint64_t max_outputs_bytes(const ExpertRowsLimits& limits);

// Lays out all but the values; returns where those begin: rows.rows * hidden floats, to be filled by the caller.
std::span<std::byte> write_rows(const ExpertRows& rows, std::int64_t hidden, std::vector<std::byte>& body);
// kDataLoss names the fault. `rows_before`: that came in earlier parts. `values` leads into the body.
Status read_rows(std::span<const std::byte> body, const ExpertRowsLimits& limits, std::int64_t rows_before,
                 ExpertRows& rows, std::span<const std::byte>& values);

// The body of an answer without outputs: the code and the text of `failed`, cut to a kilobyte.
inline constexpr std::uint64_t kMaxFailureBytes = 1024;
std::vector<std::byte> write_failure(const Status& failed);
// kDataLoss when it is none, else what it says; never ok.
Status read_failure(std::span<const std::byte> body);

}  // namespace foregate
