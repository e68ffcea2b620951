// Small files of made experts for the store: each expert's bytes follow from its key, so that a lease shows whether the
// right ones are there. And a device that is plain memory.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/checksum.h"
#include "engine/experts/expert_table.h"
#include "kernels/api/device.h"
#include "tests/engine/io/fault_files.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate::made {

class HeapDevice final : public Device {
 public:
  std::size_t limit = SIZE_MAX;  // of one allocation
  std::string describe() const override { return "heap"; }
  Memory allocate(std::size_t bytes) override {
    if (bytes > limit) return {};
    return {std::aligned_alloc(64, (bytes + 63) / 64 * 64), bytes, [](void* data, std::size_t) { std::free(data); }};
  }
  std::unique_ptr<Stream> create_stream() override { return nullptr; }
};

inline std::string expert_text(ExpertKey key) {
  return "expert " + std::to_string(key.expert.value) + " of layer " + std::to_string(key.layer.value);
}

// `pages[layer]`: pages of each expert of that layer; 0: a layer without experts.
struct Experts {
  std::int32_t count = 8;  // of a layer
  std::vector<std::uint64_t> pages = {1, 1, 1, 1};
  std::int32_t top_k = 2;
  std::uint64_t more = 0;  // pages of even experts beyond those of odd ones
};

class Disk {
 public:
  explicit Disk(const Experts& experts) : faults(memory_) {
    std::string& bytes = memory_.contents["m/data.fgw"];
    for (std::size_t layer = 0; layer < experts.pages.size(); ++layer) {
      table_.experts.push_back(experts.pages[layer] == 0 ? 0 : experts.count);
      for (std::int32_t e = 0; e < table_.experts.back(); ++e) {
        const ExpertKey key{LayerId{static_cast<std::int32_t>(layer)}, ExpertId{e}};
        const std::string text = bytes_of(key, (experts.pages[layer] + (e % 2 == 0 ? experts.more : 0)) * kDirectPage);
        ExpertExtent& extent = table_.extents.emplace_back();
        extent.offset = bytes.size();
        extent.bytes = text.size();
        extent.piece = kPiece;
        extent.checksum = checksum_of_text(text);
        extent.up_offset = 64;
        extent.down_offset = 128;
        bytes += text;
      }
    }
    table_.top_k = experts.top_k;
    auto file = faults.open("m/data.fgw");
    EXPECT_TRUE(file.ok());
    file_ = std::move(file).value();
    for (ExpertExtent& extent : table_.extents) extent.file = file_.get();
  }

  const ExpertTable& table() const { return table_; }
  std::string& bytes() { return memory_.contents.at("m/data.fgw"); }
  const File& file() const { return *file_; }
  const ExpertExtent& extent(ExpertKey key) const { return table_.extents[ExpertNumbers(table_.experts).at(key)]; }

  static std::string bytes_of(ExpertKey key, std::uint64_t size) {
    std::string text(size, '\0');
    std::uint32_t state = static_cast<std::uint32_t>(key.layer.value) * 4099u + 17u;
    state += static_cast<std::uint32_t>(key.expert.value) * 65537u;
    for (char& c : text) {
      state = state * 1664525u + 1013904223u;
      c = static_cast<char>(state >> 24);
    }
    return text;
  }
  // Whether the memory of an expert shows its own bytes.
  bool right(ExpertKey key, const std::byte* at) const {
    const std::string text = bytes_of(key, extent(key).bytes);
    return std::memcmp(at, text.data(), text.size()) == 0;
  }

 private:
  static constexpr std::uint64_t kPiece = kDirectPage + 1024;  // the last piece of all is shorter
  static std::uint64_t checksum_of_text(const std::string& text) {
    std::vector<std::uint64_t> pieces;
    for (std::size_t at = 0; at < text.size(); at += kPiece) {
      pieces.push_back(checksum(std::string_view(text).substr(at, kPiece)));
    }
    return checksum_of(pieces);
  }

  MemoryFiles memory_;

 public:
  FaultFiles faults;  // of the disk

 private:
  std::unique_ptr<File> file_;
  ExpertTable table_;
};

inline ExpertKey key(std::int32_t layer, std::int32_t expert) {
  return {LayerId{layer}, ExpertId{expert}};
}

}  // namespace foregate::made
