// Good files, shard indexes good and bad, and faults of the disk.
#include "engine/weights/tensor_index.h"

#include <gtest/gtest.h>

#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

std::string shard(const std::string& name) {
  return safetensors("{" + tensor(name, "F32", "2", "0", "8") + "}", 8);
}

std::string weight_map(const std::string& entries) {
  return "{\"metadata\":{},\"weight_map\":{" + entries + "}}";
}

MemoryFiles two_shards() {
  MemoryFiles disk;
  disk.contents["m/model.safetensors.index.json"] =
      weight_map("\"a\":\"model-1.safetensors\",\"b\":\"model-2.safetensors\"");
  disk.contents["m/model-1.safetensors"] = shard("a");
  disk.contents["m/model-2.safetensors"] = shard("b");
  return disk;
}

TEST(TensorIndex, ReadsOneFile) {
  MemoryFiles disk;
  disk.contents["m/model.safetensors"] =
      safetensors("{\"__metadata__\":{\"format\":\"pt\"}," + tensor("b", "BF16", "2,3", "4", "16") + "," +
                      tensor("empty", "F32", "0,7", "16", "16") + "," + tensor("a", "U8", "4", "0", "4") + "}   ",
                  16);
  const auto index = TensorIndex::open(disk, "m");
  ASSERT_TRUE(index.ok()) << index.status().to_string();
  ASSERT_EQ(index->tensors().size(), 3u);
  const TensorEntry* b = index->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, DType::kBF16);
  EXPECT_EQ(b->shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(b->bytes, 12u);
  std::vector<std::byte> part(3);
  ASSERT_TRUE(index->read(*b, 2, part).ok());
  EXPECT_EQ(part[0], std::byte{6});
  EXPECT_EQ(index->find("c"), nullptr);
  EXPECT_EQ(index->find(""), nullptr);
}

TEST(TensorIndex, ReadsShards) {
  const MemoryFiles disk = two_shards();
  const auto index = TensorIndex::open(disk, "m");
  ASSERT_TRUE(index.ok()) << index.status().to_string();
  EXPECT_EQ(index->shards(), 2u);
  EXPECT_EQ(index->path_of(*index->find("b")), "m/model-2.safetensors");
}

TEST(TensorIndex, RefusesReadsOutsideATensor) {
  const MemoryFiles disk = two_shards();
  const auto index = TensorIndex::open(disk, "m");
  ASSERT_TRUE(index.ok());
  std::vector<std::byte> out(4);
  const TensorEntry& a = *index->find("a");
  EXPECT_TRUE(index->read(a, 4, out).ok());
  for (const std::uint64_t begin : {std::uint64_t{5}, std::uint64_t{9}, UINT64_MAX - 2}) {
    EXPECT_EQ(index->read(a, begin, out).code(), Code::kInternal);
  }
}

TEST(TensorIndex, NamesTheTensorOfAFailedRead) {
  MemoryFiles disk = two_shards();
  const auto index = TensorIndex::open(disk, "m");
  ASSERT_TRUE(index.ok());
  std::vector<std::byte> out(8);
  disk.shrink_to = 40;
  const Status cut = index->read(*index->find("b"), 0, out);
  EXPECT_EQ(cut.code(), Code::kDataLoss);
  EXPECT_EQ(cut.field(), "b");
  EXPECT_NE(cut.message().find("model-2.safetensors"), std::string::npos);
}

TEST(TensorIndex, EveryFailedReadAtOpenIsReported) {
  int failures = 0;
  for (std::uint64_t n = 1;; ++n) {
    MemoryFiles disk = two_shards();
    disk.fail_read = n;
    const auto index = TensorIndex::open(disk, "m");
    if (disk.reads < n) {
      EXPECT_TRUE(index.ok());
      break;
    }
    ASSERT_FALSE(index.ok()) << n;
    EXPECT_EQ(index.status().code(), Code::kUnavailable);
    ++failures;
  }
  EXPECT_EQ(failures, 5);  // the index, then length and header of each shard
}

struct BadIndex {
  const char* what;
  std::string text;
  const char* message;
};

std::vector<BadIndex> bad_indexes() {
  const auto map_to = [](const std::string& file) { return weight_map("\"a\":\"" + file + "\""); };
  return {
      {"empty file", "", "not valid JSON"},
      {"a list", "[]", "weight_map is missing"},
      {"no map", "{}", "weight_map is missing"},
      {"map a list", "{\"weight_map\":[]}", "weight_map is missing"},
      {"map empty", "{\"weight_map\":{}}", "lists no tensor"},
      {"shard a number", "{\"weight_map\":{\"a\":1}}", "is not a string"},
      {"shard null", "{\"weight_map\":{\"a\":null}}", "is not a string"},
      {"tensor twice", weight_map("\"a\":\"model-1.safetensors\",\"a\":\"model-2.safetensors\""), "given twice"},
      {"map twice", "{\"weight_map\":{},\"weight_map\":{}}", "given twice"},
      {"cut", "{\"weight_map\":{\"a\":\"model-1.safe", "not valid JSON"},
      {"deep", "{\"weight_map\":" + std::string(100'000, '[') + "}", "nested deeper"},
      {"missing shard", map_to("model-9.safetensors"), "\"model-9.safetensors\" listed for tensor \"a\" is missing"},
      {"listed tensor absent", weight_map("\"a\":\"model-1.safetensors\",\"z\":\"model-1.safetensors\""),
       "\"z\" is not in its shard"},
      {"tensor in the other shard",
       weight_map("\"a\":\"model-2.safetensors\",\"b\":\"model-2.safetensors\",\"c\":\"model-1.safetensors\""),
       "is not in its shard"},
      {"tensor in two shards", weight_map("\"a\":\"model-1.safetensors\",\"c\":\"copy.safetensors\""), "is both in"},
      {"damaged shard", map_to("broken.safetensors"), "broken.safetensors"},
      {"path upward", map_to("../model-1.safetensors"), "is not the name"},
      {"path upward inside", map_to("x/../../m/model-1.safetensors"), "is not the name"},
      {"absolute path", map_to("/m/model-1.safetensors"), "is not the name"},
      {"folder", map_to("x/model-1.safetensors"), "is not the name"},
      {"current folder", map_to("./model-1.safetensors"), "is not the name"},
      {"backslash", map_to("..\\\\model-1.safetensors"), "is not the name"},
      {"two dots", map_to(".."), "is not the name"},
      {"one dot", map_to("."), "is not the name"},
      {"hidden", map_to(".safetensors"), "is not the name"},
      {"empty name", map_to(""), "is not the name"},
      {"NUL in the name", map_to("model-1.safetensors\\u0000.safetensors"), "is not the name"},
      {"another suffix", map_to("passwd"), "is not the name"},
      {"very long name", map_to(std::string(300, 'a') + ".safetensors"), "is not the name"},
      {"url", map_to("http://host/model-1.safetensors"), "is not the name"},
  };
}

TEST(BadShardIndex, IsRefusedByName) {
  const auto cases = bad_indexes();
  for (const BadIndex& bad : cases) {
    SCOPED_TRACE(bad.what);
    MemoryFiles disk = two_shards();
    disk.contents["m/copy.safetensors"] =
        safetensors("{" + tensor("a", "F32", "2", "0", "8") + "," + tensor("c", "F32", "1", "8", "12") + "}", 12);
    disk.contents["m/broken.safetensors"] = shard("a").substr(0, 30);
    disk.contents["m/model.safetensors.index.json"] = bad.text;
    const auto index = TensorIndex::open(disk, "m");
    ASSERT_FALSE(index.ok());
    EXPECT_EQ(index.status().code(), Code::kDataLoss);
    EXPECT_NE(index.status().message().find(bad.message), std::string::npos) << index.status().message();
  }
  std::printf("bad shard indexes refused: %zu\n", cases.size());
}

TEST(BadShardIndex, NoWeightsAtAll) {
  const MemoryFiles disk;
  const auto index = TensorIndex::open(disk, "m");
  ASSERT_FALSE(index.ok());
  EXPECT_EQ(index.status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace foregate
