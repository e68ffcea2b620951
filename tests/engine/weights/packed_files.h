// A small packed directory in memory, made by the writer itself.
#pragma once

#include <gtest/gtest.h>

#include "engine/weights/packed_index.h"
#include "engine/weights/packed_writer.h"
#include "tests/engine/weights/memory_output.h"

namespace foregate {

// Two layers of two experts, an embedding larger than a piece, a head; laid out in files of at most max_file_bytes.
inline PackedIndex small_plan(std::uint64_t max_file_bytes = UINT64_MAX, std::uint64_t source = 7) {
  PackedIndex plan;
  plan.quantization = "q8_0";
  plan.source = source;
  const auto add = [&plan](PackedKind kind, int layer, int expert, std::vector<PackedTensor> tensors) {
    PackedUnit unit;
    unit.kind = kind;
    unit.layer = layer;
    unit.expert = expert;
    unit.tensors = std::move(tensors);
    plan.units.push_back(std::move(unit));
  };
  add(PackedKind::kEmbedding, -1, -1, {{"embed", WeightFormat::kF32, {2064, 512}}});
  for (int layer = 0; layer < 2; ++layer) {
    const std::string stem = "layer" + std::to_string(layer) + ".";
    add(PackedKind::kLayer, layer, -1,
        {{stem + "norm", WeightFormat::kF32, {33}}, {stem + "q", WeightFormat::kQ8_0, {48, 64}}});
    for (int expert = 0; expert < 2; ++expert) {
      const std::string name = stem + std::to_string(expert) + ".";
      add(PackedKind::kExpert, layer, expert,
          {{name + "gate", WeightFormat::kQ4_0, {32, 64}},
           {name + "up", WeightFormat::kMxfp4, {32, 64}},
           {name + "down", WeightFormat::kQ8_0, {64, 32}}});
    }
  }
  add(PackedKind::kHead, -1, -1, {{"final", WeightFormat::kF32, {64}}});
  EXPECT_TRUE(lay_out(plan, max_file_bytes).ok());
  return plan;
}

// The byte that small_write() puts at `at` of a tensor.
inline std::byte packed_byte(std::size_t unit, std::size_t tensor, std::size_t at) {
  return static_cast<std::byte>(unit * 37 + tensor * 11 + at * 13 + at / 256);
}

// Writes what `out` lacks of the plan; `reused` gets the number of units that were there.
inline Status small_write(MemoryFiles& disk, OutputDirectory& out, PackedIndex plan, std::size_t* reused = nullptr) {
  ASSIGN_OR_RETURN(PackedWriter writer, PackedWriter::open(out, disk, plan, {}));
  if (reused != nullptr) *reused = writer.next_unit();
  for (std::size_t u = writer.next_unit(); u < plan.units.size(); ++u) {
    for (std::size_t t = 0; t < plan.units[u].tensors.size(); ++t) {
      const PackedTensor& tensor = plan.units[u].tensors[t];
      std::vector<std::byte> bytes(tensor.bytes());
      for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = packed_byte(u, t, i);
      const std::size_t half = bytes.size() / 3;
      RETURN_IF_ERROR(writer.write(tensor.offset, std::span(bytes).first(half)));
      RETURN_IF_ERROR(writer.write(tensor.offset + half, std::span(bytes).subspan(half)));
    }
    RETURN_IF_ERROR(writer.end_unit());
  }
  if (writer.finished()) return {};
  const SmallFile small{"config.json", "{}"};
  return writer.finish({&small, 1});
}

// A finished directory "m" on a disk of its own.
inline MemoryFiles small_pack(const PackedIndex& plan) {
  MemoryFiles disk;
  MemoryOutput out(disk, "m");
  const Status status = small_write(disk, out, plan);
  EXPECT_TRUE(status.ok()) << status.to_string();
  return disk;
}

}  // namespace foregate
