// Thousands of damaged GGUF files: a mutated file is refused, or what it describes lies inside it.
#include <gtest/gtest.h>

#include <random>

#include "engine/io/gguf_files.h"
#include "engine/weights/tensor_index.h"
#include "tests/engine/weights/gguf_builder.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

struct Tally {
  int refused = 0;
  int accepted = 0;
};

// Opens and, when accepted, reads every tensor whole.
void try_file(const std::string& bytes, Tally& tally) {
  MemoryFiles disk;
  disk.contents["x.gguf"] = bytes;
  auto model = open_gguf(disk, "x.gguf");
  ASSERT_LE(disk.largest_read, bytes.size());
  if (!model.ok()) {
    ASSERT_FALSE(model.status().message().empty());
    ++tally.refused;
    return;
  }
  ++tally.accepted;
  const auto index = TensorIndex::from_gguf(*model);
  ASSERT_TRUE(index.ok());
  std::uint64_t covered = 0;
  for (const TensorEntry& entry : index->tensors()) {
    std::vector<std::byte> data(entry.bytes);
    ASSERT_TRUE(index->read(entry, 0, data).ok()) << entry.name;
    covered += entry.bytes;
  }
  ASSERT_LE(covered, bytes.size());
}

TEST(GgufMutation, EveryByteOfTheHeaderChanged) {
  const std::string good = small_gguf().bytes();
  const std::size_t header = small_gguf().header().size();
  Tally tally;
  for (std::size_t at = 0; at < header; ++at) {
    for (int value = 0; value < 256; ++value) {
      if (static_cast<char>(value) == good[at]) continue;
      std::string bytes = good;
      bytes[at] = static_cast<char>(value);
      try_file(bytes, tally);
    }
  }
  EXPECT_GT(tally.refused, 50'000);
  EXPECT_GT(tally.accepted, 5'000);  // letters of names and values
  std::printf("header bytes changed: %d refused, %d accepted whole\n", tally.refused, tally.accepted);
}

TEST(GgufMutation, EveryCutIsRefused) {
  const std::string good = small_gguf().bytes();
  const std::size_t needed = good.size() - 12;  // without the padding at the end
  Tally tally;
  for (std::size_t size = 0; size < needed; ++size) try_file(good.substr(0, size), tally);
  EXPECT_EQ(tally.accepted, 0);
  for (std::size_t at = 0; at < small_gguf().header().size(); ++at) {
    std::string bytes = good;
    try_file(bytes.erase(at, 1), tally);
  }
  EXPECT_GT(tally.refused, 700);
  std::printf("cuts: %d refused, %d accepted whole\n", tally.refused, tally.accepted);
}

TEST(GgufMutation, RandomEdits) {
  const std::string good = small_gguf().bytes();
  const std::size_t header = small_gguf().header().size();
  const std::uint64_t numbers[] = {0,          1,          2,          31,         32,         255,
                                   1ull << 31, 1ull << 32, 1ull << 40, 1ull << 62, 1ull << 63, ~0ull};
  std::mt19937 random(7);
  Tally tally;
  for (int i = 0; i < 30'000; ++i) {
    std::string bytes = good;
    for (unsigned e = 0; e <= random() % 3; ++e) {
      const std::size_t at = random() % header;
      const std::string number = raw(numbers[random() % std::size(numbers)]).substr(0, random() % 2 == 0 ? 4 : 8);
      switch (random() % 4) {
        case 0: bytes.replace(at, number.size(), number); break;
        case 1: bytes.insert(at, good.substr(random() % header, 1 + random() % 40)); break;
        case 2: bytes.erase(at, 1 + random() % 12); break;
        default: bytes[at] = static_cast<char>(bytes[at] + 1); break;
      }
    }
    if (random() % 8 == 0) bytes.resize(random() % (bytes.size() + 1));
    try_file(bytes, tally);
  }
  EXPECT_GT(tally.refused, 15'000);
  EXPECT_GT(tally.accepted, 300);
  std::printf("random edits: %d refused, %d accepted whole\n", tally.refused, tally.accepted);
}

}  // namespace
}  // namespace foregate
