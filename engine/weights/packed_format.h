// A packed model directory, version 1: weights in the layout that the kernels compute with, so that loading is reading.
// `foregate pack` writes it.
//
//   - model.fgw.index.json: what lies where (packed_index.h). It is written last: with it, the directory is whole.
//   - model-00001-of-0000M.fgw and so on: data files.
//   - config.json, tokenizer.json and so on: the small files of a Hugging Face model, unchanged. Or, of a GGUF model,
//     metadata.gguf: its keys, and of its tensors rope_freqs.weight alone, which belongs to the configuration.
//   - pack.journal: only while a pack is unfinished: what is already written (packed_writer.h).
//
// A data file is a header page and then units, one after another; each begins and ends at a multiple of 4096 bytes, so
// that one unit is one O_DIRECT read into page-aligned memory. A unit is what is loaded, kept or dropped as one:
//   embedding   the token table
//   layer       all weights of one layer but its experts
//   expert      gate, up and down of one expert
//   head        what follows the layers: the final norm, the output matrix where it is not the token table
// A unit lies in one file. Its tensors begin at multiples of 64 bytes from its start, in the layout of
// kernels/api/quant.h (vectors as plain f32, padded to sixteen); what is between and behind them is zero.
//
// The checksum of a unit covers all its bytes: XXH3-64 of the XXH3-64 of each of its pieces of 4 MiB (the last one
// shorter), eight little-endian bytes each. So pieces may be read and checked in any order, by any thread.
//
// Header page, integers little-endian, zero where nothing is stated:
//   0     "FGWEIGHT"
//   8     u32 version         12  u32 number of this file, from 1      16  u32 number of files
//   24    u64 bytes of this file
//   32    u64 XXH3-64 of the checksums of its units, in order, eight bytes each
//   40    name of the layout (quant.h), at most 23 characters
//   4088  u64 XXH3-64 of bytes 0 to 4087
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "kernels/api/quant.h"

namespace foregate {

inline constexpr std::uint32_t kPackedVersion = 1;
inline constexpr std::uint64_t kPackedPage = 4096;
inline constexpr std::uint64_t kPackedPiece = std::uint64_t{4} << 20;
inline constexpr std::uint64_t kPackedTensorAlignment = 64;
inline constexpr const char* kPackedIndexName = "model.fgw.index.json";
inline constexpr const char* kPackJournalName = "pack.journal";
inline constexpr const char* kPackedMetadataName = "metadata.gguf";
inline constexpr std::size_t kMaxPackedFiles = 99'999;  // five digits in a name

enum class PackedKind : std::uint8_t { kEmbedding, kLayer, kExpert, kHead };
inline constexpr int kPackedKinds = 4;
const char* packed_kind_name(PackedKind kind);

// A matrix [rows, cols] or a vector [size].
struct PackedTensor {
  std::string name;
  WeightFormat format = WeightFormat::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  // from the start of the unit
  std::int64_t rows() const { return shape[0]; }
  std::int64_t cols() const { return shape.size() == 2 ? shape[1] : 1; }
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(packed_bytes(format, rows(), cols())); }
};

struct PackedUnit {
  PackedKind kind = PackedKind::kLayer;
  std::int32_t layer = -1;   // of a layer or an expert
  std::int32_t expert = -1;  // of an expert
  std::uint32_t file = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;
  std::vector<PackedTensor> tensors;
};

struct PackedDataFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t units_checksum = 0;
};

// Everything that the index file says. Units are in the order of their files and offsets.
struct PackedIndex {
  std::string layout = kPackedLayout;
  std::string quantization = "none";  // as `foregate pack` was asked
  std::uint64_t source = 0;           // of what it was made from: files, sizes, times, and the plan
  std::vector<PackedDataFile> files;
  std::vector<PackedUnit> units;
  std::uint64_t data_bytes() const;  // of all units
  std::uint64_t weights_id() const;  // XXH3-64 of all units' checksums: equal weights in an equal order, equal id
};

// "expert 17 of layer 3", for messages.
std::string packed_unit_text(const PackedUnit& unit);

// Places tensors in their units and units in files of at most max_file_bytes, one unit at least: sets offsets, sizes,
// file numbers and names. kInvalidArgument when that takes more files than a name can number.
Status lay_out(PackedIndex& index, std::uint64_t max_file_bytes);

using PackedHeaderPage = std::array<std::byte, kPackedPage>;
PackedHeaderPage make_header_page(const PackedIndex& index, std::uint32_t file);
// kUnimplemented for another version or layout, kDataLoss for anything else that is not as the index has it.
Status check_header_page(const PackedIndex& index, std::uint32_t file, const File& data);

// XXH3-64 of the checksums of the file's units.
std::uint64_t checksum_units(const PackedIndex& index, std::uint32_t file);

}  // namespace foregate
