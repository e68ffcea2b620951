#include "engine/weights/packed_format.h"

#include <bit>
#include <cstdio>
#include <cstring>

#include "engine/base/checksum.h"
#include "engine/weights/checked_json.h"

namespace foregate {
namespace {

constexpr char kMagic[8] = {'F', 'G', 'W', 'E', 'I', 'G', 'H', 'T'};
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kNumberAt = 12;
constexpr std::size_t kCountAt = 16;
constexpr std::size_t kBytesAt = 24;
constexpr std::size_t kUnitsAt = 32;
constexpr std::size_t kLayoutAt = 40;
constexpr std::size_t kLayoutBytes = 24;
constexpr std::size_t kChecksumAt = kPackedPage - 8;

static_assert(std::endian::native == std::endian::little, "header pages are little-endian");

template <class T>
void put(PackedHeaderPage& page, std::size_t at, T value) {
  std::memcpy(page.data() + at, &value, sizeof value);
}

template <class T>
T get(const PackedHeaderPage& page, std::size_t at) {
  T value;
  std::memcpy(&value, page.data() + at, sizeof value);
  return value;
}

std::uint64_t page_checksum(const PackedHeaderPage& page) {
  return checksum(std::span(page).first(kChecksumAt));
}

std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

std::string file_name(std::size_t number, std::size_t count) {
  char name[40];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.fgw", number + 1, count);
  return name;
}

void place_tensors(PackedUnit& unit) {
  std::uint64_t end = 0;
  for (PackedTensor& tensor : unit.tensors) {
    tensor.offset = round_up(end, kPackedTensorAlignment);
    end = tensor.offset + tensor.bytes();
  }
  unit.bytes = round_up(end, kPackedPage);
}

}  // namespace

const char* packed_kind_name(PackedKind kind) {
  switch (kind) {
    case PackedKind::kEmbedding: return "embedding";
    case PackedKind::kLayer: return "layer";
    case PackedKind::kExpert: return "expert";
    case PackedKind::kHead: return "head";
  }
  return "?";
}

std::string packed_unit_text(const PackedUnit& unit) {
  std::string text = packed_kind_name(unit.kind);
  if (unit.kind == PackedKind::kLayer) text += " " + std::to_string(unit.layer);
  if (unit.kind != PackedKind::kExpert) return text;
  return text + " " + std::to_string(unit.expert) + " of layer " + std::to_string(unit.layer);
}

std::uint64_t PackedIndex::data_bytes() const {
  std::uint64_t bytes = 0;
  for (const PackedUnit& unit : units) bytes += unit.bytes;
  return bytes;
}

std::uint64_t PackedIndex::weights_id() const {
  std::vector<std::uint64_t> checksums;
  for (const PackedUnit& unit : units) checksums.push_back(unit.checksum);
  return checksum_of(checksums);
}

std::uint64_t checksum_units(const PackedIndex& index, std::uint32_t file) {
  std::vector<std::uint64_t> checksums;
  for (const PackedUnit& unit : index.units) {
    if (unit.file == file) checksums.push_back(unit.checksum);
  }
  return checksum_of(checksums);
}

Status lay_out(PackedIndex& index, std::uint64_t max_file_bytes) {
  index.files.clear();
  for (PackedUnit& unit : index.units) {
    place_tensors(unit);
    const bool fits = !index.files.empty() && index.files.back().bytes + unit.bytes <= max_file_bytes;
    if (!fits) index.files.push_back({.name = {}, .bytes = kPackedPage, .units_checksum = 0});
    unit.file = static_cast<std::uint32_t>(index.files.size() - 1);
    unit.offset = index.files.back().bytes;
    index.files.back().bytes += unit.bytes;
  }
  const std::size_t count = index.files.size();
  if (count > kMaxPackedFiles) {
    return invalid_argument("files of at most " + std::to_string(max_file_bytes) + " bytes make " +
                            std::to_string(count) + " of them, more than " + std::to_string(kMaxPackedFiles));
  }
  for (std::size_t i = 0; i < count; ++i) index.files[i].name = file_name(i, count);
  return {};
}

PackedHeaderPage make_header_page(const PackedIndex& index, std::uint32_t file) {
  PackedHeaderPage page{};
  std::memcpy(page.data(), kMagic, sizeof kMagic);
  put(page, kVersionAt, kPackedVersion);
  put(page, kNumberAt, file + 1);
  put(page, kCountAt, static_cast<std::uint32_t>(index.files.size()));
  put(page, kBytesAt, index.files[file].bytes);
  put(page, kUnitsAt, index.files[file].units_checksum);
  CHECK(index.layout.size() < kLayoutBytes);
  std::memcpy(page.data() + kLayoutAt, index.layout.data(), index.layout.size());
  put(page, kChecksumAt, page_checksum(page));
  return page;
}

Status check_header_page(const PackedIndex& index, std::uint32_t file, const File& data) {
  PackedHeaderPage page;
  RETURN_IF_ERROR(data.read(0, page));
  const std::string where = data.path() + ": ";
  if (std::memcmp(page.data(), kMagic, sizeof kMagic) != 0) {
    return data_loss(where + "not a file of packed weights: it does not start with FGWEIGHT");
  }
  if (const auto version = get<std::uint32_t>(page, kVersionAt); version != kPackedVersion) {
    return unimplemented(where + "packed weights of version " + std::to_string(version) +
                             "; this program reads version " + std::to_string(kPackedVersion) +
                             ": pack the model again",
                         "version");
  }
  if (get<std::uint64_t>(page, kChecksumAt) != page_checksum(page)) {
    return data_loss(where + "its header page is damaged");
  }
  const char* name = reinterpret_cast<const char*>(page.data() + kLayoutAt);
  const std::string layout(name, ::strnlen(name, kLayoutBytes));
  if (layout != index.layout) {
    return unimplemented(where + "packed in the layout \"" + printable(layout) + "\", not \"" + index.layout + "\"",
                         "layout");
  }
  if (page != make_header_page(index, file)) {
    return data_loss(where + "its header does not match the index: it belongs to another model or place");
  }
  return {};
}

}  // namespace foregate
