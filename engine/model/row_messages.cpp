#include "engine/model/row_messages.h"

#include <string>
#include <utility>

#include "engine/comm/body.h"

namespace foregate {
namespace {

Status cut(const char* what) {
  return data_loss(std::string(what) + " does not hold what it says");
}

bool inside(std::int64_t value, std::int64_t end) {
  return value >= 0 && value < end;
}

Status read_row(BodyReader& reader, const RowLimits& limits, RowAt& at) {
  std::int32_t wanted = 0, blocks = 0;
  if (!reader.take(at.row) || !reader.take(at.position) || !reader.take(wanted) || !reader.take(blocks)) {
    return cut("a row that moves");
  }
  at.wanted = wanted != 0;
  if (!inside(at.row, limits.max_rows) || at.position < 0 || wanted > 1 || wanted < 0) {
    return data_loss("row " + std::to_string(at.row) + " at position " + std::to_string(at.position) + " moves");
  }
  if (blocks != at.position / limits.block_size + 1 || blocks > limits.blocks) {
    return data_loss("a row that moves has " + std::to_string(blocks) + " blocks");
  }
  at.blocks.resize(static_cast<std::size_t>(blocks));
  if (!reader.take(std::span(at.blocks))) return cut("a row that moves");
  for (const std::int32_t block : at.blocks) {
    if (!inside(block, limits.blocks)) return data_loss("a row that moves names block " + std::to_string(block));
  }
  return {};
}

}  // namespace

void write_context(const ContextShape& shape, std::vector<std::byte>& body) {
  BodyWriter writer(body);
  writer.put(static_cast<std::int32_t>(shape.type));
  writer.put(shape.block_size);
  writer.put(shape.blocks);
}

Result<ContextShape> read_context(std::span<const std::byte> body) {
  BodyReader reader(body);
  ContextShape shape;
  std::int32_t type = 0;
  if (!reader.take(type) || !reader.take(shape.block_size) || !reader.take(shape.blocks) || reader.left() > 0) {
    return cut("the size of a cache");
  }
  bool known = false;
  for (const DType one : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    if (static_cast<std::int32_t>(one) != type) continue;
    shape.type = one;
    known = true;
  }
  const bool fits = shape.block_size >= 1 && shape.block_size <= 256 && inside(shape.blocks, std::int64_t{1} << 31);
  if (!known || !fits) {
    return data_loss("a cache of " + std::to_string(shape.blocks) + " blocks of " + std::to_string(shape.block_size));
  }
  return shape;
}

void write_join(const JoinRows& join, std::vector<std::byte>& body) {
  BodyWriter writer(body);
  writer.put(join.step);
  writer.put(join.layer.value);
  writer.put(static_cast<std::int32_t>(join.rows.size()));
  for (const RowAt& at : join.rows) {
    for (const std::int32_t value :
         {at.row, at.position, at.wanted ? 1 : 0, static_cast<std::int32_t>(at.blocks.size())})
      writer.put(value);
    writer.put(std::span<const std::int32_t>(at.blocks));
  }
  writer.put(std::span<const float>(join.hidden));
}

Status read_join(std::span<const std::byte> body, const RowLimits& limits, JoinRows& join) {
  BodyReader reader(body);
  std::int32_t layer = 0, rows = 0;
  if (!reader.take(join.step) || !reader.take(layer) || !reader.take(rows)) return cut("a move of rows");
  if (!inside(layer, limits.layers)) return data_loss("rows move in layer " + std::to_string(layer));
  if (rows < 1 || rows > limits.max_rows) return data_loss(std::to_string(rows) + " rows move");
  join.layer = LayerId{layer};
  join.rows.assign(static_cast<std::size_t>(rows), {});
  for (RowAt& at : join.rows) RETURN_IF_ERROR(read_row(reader, limits, at));
  const auto values = static_cast<std::size_t>(rows * limits.hidden);
  if (reader.left() != values * sizeof(float)) return cut("a move of rows");
  join.hidden.resize(values);
  return reader.take(std::span(join.hidden)) ? Status() : cut("a move of rows");
}

std::uint64_t max_join_bytes(const RowLimits& limits) {
  const auto rows = static_cast<std::uint64_t>(limits.max_rows);
  const std::uint64_t each = 4 + static_cast<std::uint64_t>(limits.blocks) + static_cast<std::uint64_t>(limits.hidden);
  return 16 + rows * each * sizeof(std::int32_t);
}

void write_layer(const LayerRows& rows, std::vector<std::byte>& body) {
  BodyWriter writer(body);
  writer.put(rows.layer.value);
  writer.put(static_cast<std::int32_t>(rows.outputs.size()));
  writer.put(static_cast<std::int32_t>(rows.context.size()));
  writer.put(std::span<const OutputAt>(rows.outputs));
  writer.put(std::span<const ContextSpan>(rows.context));
  writer.put(std::span<const float>(rows.values));
  writer.put(std::span<const std::byte>(rows.positions));
}

Status read_layer(std::span<const std::byte> body, const RowLimits& limits, std::size_t position_bytes,
                  LayerRows& rows) {
  BodyReader reader(body);
  std::int32_t layer = 0, outputs = 0, spans = 0;
  if (!reader.take(layer) || !reader.take(outputs) || !reader.take(spans)) return cut("a layer");
  if (!inside(layer, limits.layers + 1)) return data_loss("rows are to run layer " + std::to_string(layer));
  if (outputs < 0 || outputs > limits.max_rows * limits.top_k || spans < 0 || spans > limits.blocks) {
    return data_loss("a layer with " + std::to_string(outputs) + " outputs and keys of " + std::to_string(spans) +
                     " blocks");
  }
  rows.layer = LayerId{layer};
  rows.outputs.resize(static_cast<std::size_t>(outputs));
  rows.context.resize(static_cast<std::size_t>(spans));
  if (!reader.take(std::span(rows.outputs)) || !reader.take(std::span(rows.context))) return cut("a layer");
  std::size_t positions = 0;
  for (const ContextSpan& span : rows.context) {
    if (!inside(span.block, limits.blocks) || span.first < 0 || span.count < 1 || span.first > limits.block_size ||
        span.count > limits.block_size - span.first) {
      return data_loss("a layer brings keys of block " + std::to_string(span.block));
    }
    positions += static_cast<std::size_t>(span.count);
  }
  rows.values.resize(rows.outputs.size() * static_cast<std::size_t>(limits.hidden));
  if (reader.left() != rows.values.size() * sizeof(float) + positions * position_bytes) return cut("a layer");
  rows.positions.resize(positions * position_bytes);
  return reader.take(std::span(rows.values)) && reader.take(std::span(rows.positions)) ? Status() : cut("a layer");
}

std::uint64_t max_layer_bytes(const RowLimits& limits, std::size_t position_bytes) {
  const auto outputs = static_cast<std::uint64_t>(limits.max_rows * limits.top_k);
  const auto blocks = static_cast<std::uint64_t>(limits.blocks);
  return 12 + outputs * (sizeof(OutputAt) + static_cast<std::uint64_t>(limits.hidden) * sizeof(float)) +
         blocks * (sizeof(ContextSpan) + static_cast<std::uint64_t>(limits.block_size) * position_bytes);
}

}  // namespace foregate
