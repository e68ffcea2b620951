// The bodies of the messages by which rows move from rank to rank and go through layers there. A receiver checks every
// count and index against what it holds before it uses one. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"
#include "engine/kv/kv_layout.h"
#include "engine/model/context_mirror.h"
#include "engine/model/rows_here.h"

namespace foregate {

struct RowLimits {
  std::int64_t max_rows = 0;  // of one step
  std::int32_t top_k = 0;
  std::int64_t hidden = 0;
  std::int32_t layers = 0;
  std::int64_t blocks = 0;  // of the cache
  std::int32_t block_size = 1;
};

// kContext.
struct ContextShape {
  DType type = DType::kF32;
  std::int32_t block_size = 0;
  std::int64_t blocks = 0;
};
void write_context(const ContextShape& shape, std::vector<std::byte>& body);
Result<ContextShape> read_context(std::span<const std::byte> body);

// kJoin: rows of step `step` that go on behind those at the rank; those of another step are over.
struct JoinRows {
  std::uint64_t step = 0;
  LayerId layer;
  std::vector<RowAt> rows;
  std::vector<float> hidden;  // [rows, hidden] the residual stream before the layer's FFN
};
void write_join(const JoinRows& join, std::vector<std::byte>& body);
Status read_join(std::span<const std::byte> body, const RowLimits& limits, JoinRows& join);
std::uint64_t max_join_bytes(const RowLimits& limits);

// kLayer: outputs of experts elsewhere for the layer before, and keys and values of this one that the rank lacks. The
// layer after the last asks for the rows that are wanted.
struct OutputAt {
  std::int32_t index = 0;  // of the rank's rows
  std::int32_t slot = 0;
};
struct LayerRows {
  LayerId layer;
  std::vector<OutputAt> outputs;
  std::vector<float> values;  // [outputs, hidden]
  std::vector<ContextSpan> context;
  std::vector<std::byte> positions;  // of those spans, position_bytes() each
};
void write_layer(const LayerRows& rows, std::vector<std::byte>& body);
// `position_bytes`: of a position of the layer; 0 after the last.
Status read_layer(std::span<const std::byte> body, const RowLimits& limits, std::size_t position_bytes,
                  LayerRows& rows);
std::uint64_t max_layer_bytes(const RowLimits& limits, std::size_t position_bytes);

}  // namespace foregate
