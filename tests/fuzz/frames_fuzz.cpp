#include <cstring>

#include "engine/comm/message.h"
#include "engine/model/expert_rows.h"
#include "engine/placement/plan_file.h"
#include "engine/runtime/rank_setup.h"
#include "kernels/api/check.h"
#include "tests/fuzz/fuzz_target.h"

namespace foregate {
namespace {

constexpr ExpertRowsLimits kLimits{.max_rows = 16, .top_k = 2, .hidden = 4, .layers = 3, .experts = 8};

bool read_body(MessageKind kind, std::span<const std::byte> body) {
  if (kind == MessageKind::kRows) {
    ExpertRows rows;
    std::span<const std::byte> values;
    constexpr std::int64_t kBefore = 5;  // rows of earlier parts
    if (!read_rows(body, kLimits, kBefore, rows, values).ok()) return false;
    CHECK(rows.rows_before == (rows.part.number == 0 ? 0 : kBefore) && rows.part.number < rows.part.of);
    CHECK(rows.rows >= 0 && rows.rows_before + rows.rows <= kLimits.max_rows &&
          rows.experts.size() == rows.group_rows.size());
    CHECK(values.size() == static_cast<std::size_t>(rows.rows * kLimits.hidden) * sizeof(float));
    for (const std::int32_t expert : rows.experts) CHECK(expert >= 0 && expert < kLimits.experts);
    for (const std::int32_t row : rows.x_rows) CHECK(row >= 0 && row < rows.rows_before + rows.rows);
    CHECK(rows.drafted.size() == rows.experts.size() && rows.stood.size() <= kMaxStoodPlaces);
    return true;
  }
  if (kind != MessageKind::kSetup) return true;  // outputs are taken by their size alone
  const auto setup = parse_setup(body);
  if (!setup.ok()) return false;
  CHECK(setup->rank >= 1 && setup->threads >= 1 && setup->max_rows >= 1);
  (void)parse_plan(setup->plan);
  return true;
}

}  // namespace
}  // namespace foregate

int fuzz_frames(std::string_view bytes) {
  using namespace foregate;
  if (bytes.size() < kMessageHeaderBytes) return 0;
  std::vector<std::byte> copy(bytes.size());  // a buffer of its own: reads past its end are seen
  std::memcpy(copy.data(), bytes.data(), bytes.size());
  const MessageBounds bounds{.least_epoch = 0, .most_epoch = ~std::uint64_t{0}, .most_bytes = 1u << 16};
  const auto header =
      read_header(std::span<const std::byte, kMessageHeaderBytes>(copy.data(), kMessageHeaderBytes), bounds);
  if (!header.ok()) return 0;
  const std::span<const std::byte> rest = std::span(copy).subspan(kMessageHeaderBytes);
  if (rest.size() < header->body_bytes) return 1;
  std::vector<std::byte> body(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(header->body_bytes));
  return read_body(header->kind, body) ? 2 : 1;
}
