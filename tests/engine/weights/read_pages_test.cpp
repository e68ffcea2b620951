// Bytes of a tensor read by whole pages are those that read() gives, wherever in a page they begin and end.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "engine/weights/tensor_index.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

TEST(ReadPages, GivesTheBytesOfTheTensor) {
  const std::string dir = ::testing::TempDir() + "read_pages_" + std::to_string(::getpid());
  std::filesystem::create_directories(dir);
  std::string bytes = safetensors(
      R"({"a":{"dtype":"U8","shape":[5001],"data_offsets":[0,5001]},"b":{"dtype":"U8","shape":[20000],"data_offsets":[5001,25001]}})",
      0);
  for (int i = 0; i < 25001; ++i) bytes += static_cast<char>(i * 31 + i / 256);
  std::ofstream(dir + "/model.safetensors", std::ios::binary) << bytes;
  auto index = TensorIndex::open(local_files(), dir);
  ASSERT_TRUE(index.ok()) << index.status().to_string();
  const TensorEntry& b = *index->find("b");
  for (const auto& [begin, size] :
       std::vector<std::pair<std::uint64_t, std::size_t>>{{0, 20000}, {0, 1}, {19999, 1}, {4000, 9000}, {8, 12288}}) {
    const std::size_t room = TensorIndex::page_buffer_bytes(size);
    std::unique_ptr<std::byte, void (*)(void*)> memory{static_cast<std::byte*>(std::aligned_alloc(kDirectPage, room)),
                                                       std::free};
    std::vector<std::byte> want(size);
    ASSERT_TRUE(index->read(b, begin, want).ok());
    const auto got = index->read_pages(b, begin, size, memory.get());
    ASSERT_TRUE(got.ok()) << got.status().to_string();
    const std::byte* const at = got.value();
    EXPECT_LE(at + size, memory.get() + room);
    EXPECT_EQ(std::memcmp(at, want.data(), size), 0) << begin << " " << size;
  }
  std::byte none[1];
  EXPECT_FALSE(index->read_pages(b, 19999, 2, none).ok());
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace foregate
