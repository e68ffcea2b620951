// Thousands of damaged files: a mutated file is refused, or what it describes lies inside it.
#include <gtest/gtest.h>

#include <random>

#include "engine/weights/tensor_index.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

constexpr std::size_t kDataBytes = 56;

std::string good_file() {
  return safetensors("{\"__metadata__\":{\"format\":\"pt\"}," + tensor("a.weight", "F32", "2,3", "0", "24") + "," +
                         tensor("b.weight", "BF16", "4,2", "24", "40") + "," + tensor("c", "U8", "16", "40", "56") +
                         "}",
                     kDataBytes);
}

struct Tally {
  int refused = 0;
  int accepted = 0;
};

// Opens and, when accepted, reads every tensor whole.
void try_file(const std::string& bytes, Tally& tally) {
  MemoryFiles disk;
  disk.contents["m/model.safetensors"] = bytes;
  const auto index = TensorIndex::open(disk, "m");
  ASSERT_LE(disk.largest_read, bytes.size());
  if (!index.ok()) {
    ASSERT_FALSE(index.status().message().empty());
    ++tally.refused;
    return;
  }
  ++tally.accepted;
  std::uint64_t covered = 0;
  for (const TensorEntry& entry : index->tensors()) {
    std::vector<std::byte> data(entry.bytes);
    ASSERT_TRUE(index->read(entry, 0, data).ok()) << entry.name;
    covered += entry.bytes;
  }
  ASSERT_LT(covered, bytes.size());
}

TEST(Mutation, EveryByteOfTheHeaderFlipped) {
  const std::string good = good_file();
  Tally tally;
  for (std::size_t at = 0; at < good.size() - kDataBytes; ++at) {
    for (int value = 0; value < 256; ++value) {
      if (static_cast<char>(value) == good[at]) continue;
      std::string bytes = good;
      bytes[at] = static_cast<char>(value);
      try_file(bytes, tally);
    }
  }
  EXPECT_GT(tally.refused, 50'000);
  EXPECT_GT(tally.accepted, 100);  // a letter of a name or of the metadata
  std::printf("header bytes changed: %d refused, %d accepted whole\n", tally.refused, tally.accepted);
}

TEST(Mutation, EveryCutIsRefused) {
  const std::string good = good_file();
  Tally tally;
  for (std::size_t size = 0; size < good.size(); ++size) try_file(good.substr(0, size), tally);
  for (std::size_t at = 0; at < good.size() - kDataBytes; ++at) {
    std::string bytes = good;
    try_file(bytes.erase(at, 1), tally);
  }
  EXPECT_EQ(tally.accepted, 0);
  EXPECT_GT(tally.refused, 300);
}

TEST(Mutation, RandomEdits) {
  const std::string good = good_file();
  const std::string tokens[] = {"{",
                                "}",
                                "[",
                                "]",
                                ",",
                                ":",
                                "\"",
                                "-",
                                "0",
                                "99999999999999999999",
                                "1e400",
                                "null",
                                "\"dtype\":",
                                "\"shape\":[",
                                "\"data_offsets\":[",
                                "18446744073709551615",
                                "\\u0000"};
  std::mt19937 random(7);
  Tally tally;
  for (int i = 0; i < 20'000; ++i) {
    std::string header = good.substr(8, good.size() - 8 - kDataBytes);
    const int edits = 1 + static_cast<int>(random() % 4);
    for (int e = 0; e < edits; ++e) {
      const std::size_t at = random() % header.size();
      const std::size_t other = random() % header.size();
      const std::size_t length = std::min<std::size_t>(header.size() - at, 1 + random() % 12);
      switch (random() % 4) {
        case 0: header.replace(at, length, tokens[random() % std::size(tokens)]); break;
        case 1: header.insert(at, header.substr(other, 1 + random() % 40)); break;
        case 2: header[at] = static_cast<char>('0' + random() % 10); break;
        default: header.erase(at, std::min(length, header.size() - 1)); break;
      }
      if (header.empty()) header = "{";
    }
    std::string bytes = safetensors(header, kDataBytes);
    if (random() % 8 == 0) bytes.resize(random() % (bytes.size() + 1));
    try_file(bytes, tally);
  }
  EXPECT_GT(tally.refused, 15'000);
  std::printf("random edits: %d refused, %d accepted whole\n", tally.refused, tally.accepted);
}

}  // namespace
}  // namespace foregate
