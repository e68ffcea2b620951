// The text of model.fgw.index.json, version 1: JSON in UTF-8, one unit a line.
//
//   {"format": "foregate packed weights", "version": 1, "layout": "interleave16", "checksum": "xxh3-64",
//    "quantization": "q4_0", "source": HEX, "weights": HEX,
//    "files": [{"name": "model-00001-of-00001.fgw", "bytes": N, "units": HEX}, ...],
//    "units": [
//   {"kind": "expert", "layer": 3, "expert": 17, "file": 0, "offset": N, "bytes": N, "xxh3": HEX,
//    "tensors": [{"name": "model.layers.3.mlp.experts.17.gate_proj.weight", "format": "q4_0", "shape": [rows, cols],
//                 "offset": N, "bytes": N}, ...]},
//    ...],
//    "index_xxh3": HEX}
//
// HEX is sixteen lower-case digits. "layer" is absent for embedding and head, "expert" for all but experts. A tensor's
// offset counts from its unit. "index_xxh3" is the XXH3-64 of the text before that key's opening quote.
#pragma once

#include <string>
#include <string_view>

#include "engine/weights/packed_format.h"

namespace foregate {

inline constexpr std::uint64_t kMaxPackedIndexBytes = std::uint64_t{256} << 20;

std::string write_packed_index(const PackedIndex& index);

// Reads and checks it all: format, version and layout (kUnimplemented, by name, for others), that units fill their
// files without holes, tensors lie in their units with the bytes that their shapes imply, no unit is given twice
// (kDataLoss). `label`, the path, is for messages.
Result<PackedIndex> parse_packed_index(std::string_view text, const std::string& label);

}  // namespace foregate
