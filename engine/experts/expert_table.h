// Where each expert's bytes lie on disk and how they are laid out: one aligned range of a packed file, with its
// checksum. Made by the loader, const afterwards; any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/expert_key.h"
#include "engine/experts/expert_numbers.h"
#include "engine/io/file.h"
#include "kernels/api/args_moe.h"

namespace foregate {

struct ExpertExtent {
  const File* file = nullptr;  // null: ExpertTable::fill brings it
  std::uint64_t offset = 0;    // a multiple of kDirectPage
  std::uint64_t bytes = 0;     // likewise
  std::uint64_t checksum = 0;  // packed_format.h: XXH3-64 of the XXH3-64 of pieces of `piece` bytes
  std::uint64_t piece = 0;
  // Shapes and formats of the three matrices; their data points nowhere, the offsets are from the start of the range.
  ExpertWeights shape;
  std::uint64_t gate_offset = 0;
  std::uint64_t up_offset = 0;
  std::uint64_t down_offset = 0;

  ExpertWeights at(const std::byte* memory) const {
    ExpertWeights weights = shape;
    weights.gate.data = memory + gate_offset;
    weights.up.data = memory + up_offset;
    weights.down.data = memory + down_offset;
    return weights;
  }
};

struct ExpertTable {
  std::vector<std::int32_t> experts;  // of each layer; 0: a dense one
  std::vector<ExpertExtent> extents;  // by ExpertNumbers
  std::shared_ptr<const void> keep;   // what owns the files
  // Of a model that is not packed: makes the bytes of an expert from other files. Called on the transfer thread.
  std::function<Status(ExpertKey, std::byte*)> fill = {};
  std::int32_t top_k = 1;
  std::uint64_t weights_id = 0;  // PackedIndex::weights_id()
  // Of the largest expert of each layer.
  std::vector<std::uint64_t> bytes_of_layers() const {
    std::vector<std::uint64_t> bytes;
    auto extent = extents.begin();
    for (const std::int32_t count : experts) {
      bytes.push_back(0);
      for (std::int32_t i = 0; i < count; ++i, ++extent) bytes.back() = std::max(bytes.back(), extent->bytes);
    }
    return bytes;
  }
  std::uint64_t bytes() const {
    std::uint64_t sum = 0;
    for (const ExpertExtent& extent : extents) sum += extent.bytes;
    return sum;
  }
};

}  // namespace foregate
