// Good GGUF files: what is read of them, splits, and faults of the disk.
#include "engine/io/gguf.h"

#include <gtest/gtest.h>

#include "engine/io/gguf_files.h"
#include "engine/weights/tensor_index.h"
#include "tests/engine/weights/gguf_builder.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

Result<GgufHeader> read(const std::string& bytes) {
  MemoryFiles disk;
  disk.contents["m.gguf"] = bytes;
  return read_gguf_header(*disk.open("m.gguf").value());
}

TEST(Gguf, ReadsEveryKindOfValue) {
  const auto header = read(small_gguf().bytes());
  ASSERT_TRUE(header.ok()) << header.status().to_string();
  EXPECT_EQ(header->version, 3u);
  EXPECT_EQ(header->alignment, 32u);
  EXPECT_EQ(header->find("general.architecture")->texts.at(0), "olmoe");
  EXPECT_EQ(header->find("a.u32")->integer(), 7);
  EXPECT_EQ(header->find("a.u64")->integer(), std::int64_t{1} << 40);
  EXPECT_EQ(header->find("a.f32")->number(), 1.5);
  EXPECT_EQ(header->find("a.u32")->number(), 7.0);
  EXPECT_EQ(header->find("a.bool")->boolean(), true);
  EXPECT_EQ(header->find("a.texts")->texts, (std::vector<std::string>{"x", "", "yz"}));
  EXPECT_EQ(header->find("a.i32s")->integer(1), -2);
  EXPECT_EQ(header->find("a.i32s")->description(), "array of 3 i32");
  EXPECT_EQ(header->find("a.f32s")->number(0), 0.5);
  EXPECT_EQ(header->find("a"), nullptr);
  EXPECT_EQ(header->find("zz"), nullptr);
}

TEST(Gguf, AnswersNothingForAnotherKind) {
  const auto header = read(small_gguf().bytes());
  ASSERT_TRUE(header.ok());
  EXPECT_FALSE(header->find("a.f32")->integer());
  EXPECT_FALSE(header->find("a.bool")->integer());
  EXPECT_FALSE(header->find("a.texts")->number());
  EXPECT_FALSE(header->find("a.u32")->boolean());
  EXPECT_FALSE(header->find("a.i32s")->integer(3));
  EXPECT_FALSE(header->find("a.f32s")->number(1));
}

TEST(Gguf, WidthsAndSignsOfIntegers) {
  GgufBuilder file;
  file.put("u8", raw(std::uint32_t{0}) + raw(std::uint8_t{200}));
  file.put("i8", raw(std::uint32_t{1}) + raw(std::int8_t{-100}));
  file.put("u16", raw(std::uint32_t{2}) + raw(std::uint16_t{60000}));
  file.put("i16", raw(std::uint32_t{3}) + raw(std::int16_t{-30000}));
  file.put("u32", raw(kGgufU32) + raw(std::uint32_t{4000000000}));
  file.put("i32", raw(kGgufI32) + raw(std::int32_t{-2000000000}));
  file.put("u64", raw(kGgufU64) + raw(~std::uint64_t{0}));
  file.put("i64", raw(std::uint32_t{11}) + raw(INT64_MIN));
  file.put("f64", raw(std::uint32_t{12}) + raw(-0.25));
  const auto header = read(file.bytes());
  ASSERT_TRUE(header.ok()) << header.status().to_string();
  EXPECT_EQ(header->find("u8")->integer(), 200);
  EXPECT_EQ(header->find("i8")->integer(), -100);
  EXPECT_EQ(header->find("u16")->integer(), 60000);
  EXPECT_EQ(header->find("i16")->integer(), -30000);
  EXPECT_EQ(header->find("u32")->integer(), 4000000000);
  EXPECT_EQ(header->find("i32")->integer(), -2000000000);
  EXPECT_FALSE(header->find("u64")->integer());
  EXPECT_EQ(header->find("i64")->integer(), INT64_MIN);
  EXPECT_EQ(header->find("f64")->number(), -0.25);
}

TEST(Gguf, PlacesTensorsOutermostFirst) {
  const std::string bytes = small_gguf().bytes();
  const auto header = read(bytes);
  ASSERT_TRUE(header.ok());
  ASSERT_EQ(header->tensors.size(), 3u);
  const GgufTensor& a = header->tensors[0];
  EXPECT_EQ(a.name, "t.a");
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(a.dtype, DType::kF32);
  EXPECT_EQ(a.bytes, 48u);
  const GgufTensor& b = header->tensors[1];
  EXPECT_STREQ(b.type_name, "Q8_0");
  EXPECT_EQ(b.dtype, DType::kQ8_0);
  EXPECT_EQ(b.bytes, 68u);
  EXPECT_EQ(bytes.substr(b.offset, b.bytes), std::string(68, 'q'));
  EXPECT_EQ(bytes.substr(header->tensors[2].offset, 4), raw(100.0f));
}

TEST(Gguf, VersionTwoAndOtherAlignments) {
  for (const std::uint32_t alignment : {8u, 64u, 4096u}) {
    GgufBuilder file = small_gguf();
    file.version = 2;
    file.alignment = alignment;
    file.u32("general.alignment", alignment);
    const auto header = read(file.bytes());
    ASSERT_TRUE(header.ok()) << header.status().to_string();
    EXPECT_EQ(header->alignment, alignment);
    EXPECT_EQ(header->tensors[2].offset % alignment, 0u);
  }
}

TEST(Gguf, NoTensorsAndNoPaddingAtTheEnd) {
  GgufBuilder vocabulary;
  vocabulary.text("general.architecture", "llama");
  EXPECT_TRUE(read(vocabulary.bytes()).ok());
  EXPECT_TRUE(read(vocabulary.header()).ok());
  std::string bytes = small_gguf().bytes();
  bytes.resize(bytes.size() - 12);  // the padding after 5 numbers
  EXPECT_TRUE(read(bytes).ok());
  bytes.resize(bytes.size() - 1);
  EXPECT_FALSE(read(bytes).ok());
}

TEST(Gguf, ReadsNoMoreThanTheHeader) {
  GgufBuilder file = small_gguf();
  file.tensor("t.large", {1 << 20, 8}, kGgmlF32, std::string(32u << 20, '\0'));
  MemoryFiles disk;
  disk.contents["m.gguf"] = file.bytes();
  ASSERT_TRUE(read_gguf_header(*disk.open("m.gguf").value()).ok());
  EXPECT_EQ(disk.reads, 1u);
  EXPECT_LE(disk.largest_read, 1u << 20);
}

// A long array crosses the reader's buffer many times.
TEST(Gguf, LongArrays) {
  GgufBuilder file;
  std::vector<std::string> words;
  std::vector<float> numbers;
  for (int i = 0; i < 300'000; ++i) {
    words.push_back("word " + std::to_string(i));
    numbers.push_back(static_cast<float>(i) * 0.5f);
  }
  file.texts("words", words);
  file.f32s("numbers", numbers);
  const auto header = read(file.bytes());
  ASSERT_TRUE(header.ok()) << header.status().to_string();
  EXPECT_EQ(header->find("words")->texts, words);
  EXPECT_EQ(header->find("numbers")->number(299'999), 149'999.5);
}

TEST(Gguf, EveryFailedReadIsAnAnswer) {
  GgufBuilder file = small_gguf();
  file.texts("long", std::vector<std::string>(100'000, std::string(30, 'x')));  // more than three buffers
  const std::string bytes = file.bytes();
  MemoryFiles sound;
  sound.contents["m.gguf"] = bytes;
  ASSERT_TRUE(open_gguf(sound, "m.gguf").ok());
  ASSERT_GE(sound.reads, 4u);
  for (std::uint64_t read = 1; read <= sound.reads; ++read) {
    MemoryFiles disk;
    disk.contents["m.gguf"] = bytes;
    disk.fail_read = read;
    EXPECT_EQ(open_gguf(disk, "m.gguf").status().code(), Code::kUnavailable) << read;
  }
  MemoryFiles shorter;
  shorter.contents["m.gguf"] = bytes;
  shorter.shrink_to = 2'000'000;
  EXPECT_EQ(open_gguf(shorter, "m.gguf").status().code(), Code::kDataLoss);
}

GgufBuilder part(std::uint32_t number, std::uint32_t count, const std::string& tensor) {
  GgufBuilder file;
  file.put("split.no", raw(std::uint32_t{2}) + raw(static_cast<std::uint16_t>(number)));
  file.put("split.count", raw(std::uint32_t{2}) + raw(static_cast<std::uint16_t>(count)));
  file.put("split.tensors.count", raw(kGgufI32) + raw(static_cast<std::int32_t>(count)));
  if (number == 0) file.text("general.architecture", "olmoe");
  file.counting(tensor, {2}, static_cast<float>(number));
  return file;
}

MemoryFiles three_parts() {
  MemoryFiles disk;
  for (std::uint32_t i = 0; i < 3; ++i) {
    disk.contents["m/x-0000" + std::to_string(i + 1) + "-of-00003.gguf"] = part(i, 3, "t" + std::to_string(i)).bytes();
  }
  return disk;
}

constexpr const char* kFirst = "m/x-00001-of-00003.gguf";

TEST(GgufSplit, TensorsOfAllFiles) {
  const MemoryFiles disk = three_parts();
  auto model = open_gguf(disk, kFirst);
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->files.size(), 3u);
  const auto index = TensorIndex::from_gguf(*model);
  ASSERT_TRUE(index.ok());
  for (int i = 0; i < 3; ++i) {
    const TensorEntry* entry = index->find("t" + std::to_string(i));
    ASSERT_NE(entry, nullptr);
    float value = -1.0f;
    ASSERT_TRUE(index->read(*entry, 0, std::as_writable_bytes(std::span(&value, 1))).ok());
    EXPECT_EQ(value, static_cast<float>(i));
    EXPECT_EQ(index->path_of(*entry), "m/x-0000" + std::to_string(i + 1) + "-of-00003.gguf");
  }
}

TEST(GgufSplit, WhatDoesNotFitIsRefusedByName) {
  struct Case {
    const char* what;
    void (*edit)(MemoryFiles&);
    const char* path;
    const char* message;
  };
  const Case cases[] = {
      {"a follower is given", [](MemoryFiles&) {}, "m/x-00002-of-00003.gguf", "give the first one"},
      {"a part is missing", [](MemoryFiles& d) { d.contents.erase("m/x-00002-of-00003.gguf"); }, kFirst,
       "m/x-00002-of-00003.gguf"},
      {"two parts swapped",
       [](MemoryFiles& d) { std::swap(d.contents["m/x-00002-of-00003.gguf"], d.contents["m/x-00003-of-00003.gguf"]); },
       kFirst, "says that it is file 3 of 3"},
      {"a part of another split",
       [](MemoryFiles& d) { d.contents["m/x-00003-of-00003.gguf"] = part(2, 4, "t2").bytes(); }, kFirst,
       "says that it is file 3 of 4"},
      {"a part that knows of no split",
       [](MemoryFiles& d) { d.contents["m/x-00003-of-00003.gguf"] = small_gguf().bytes(); }, kFirst,
       "says that it is file 1 of 1"},
      {"the first is named otherwise", [](MemoryFiles& d) { d.contents["m/y.gguf"] = d.contents[kFirst]; }, "m/y.gguf",
       "not named <name>-00001-of-00003.gguf"},
      {"the name counts otherwise", [](MemoryFiles& d) { d.contents["m/x-00001-of-00002.gguf"] = d.contents[kFirst]; },
       "m/x-00001-of-00002.gguf", "not named"},
      {"too few tensors",
       [](MemoryFiles& d) {
         GgufBuilder more = part(2, 3, "t2");
         more.counting("t3", {2});
         d.contents["m/x-00003-of-00003.gguf"] = more.bytes();
       },
       kFirst, "split.tensors.count is 3 but the files hold 4"},
      {"split.count a text",
       [](MemoryFiles& d) {
         GgufBuilder bad = part(0, 3, "t0");
         bad.text("split.count", "3");
         d.contents[kFirst] = bad.bytes();
       },
       kFirst, "split.count must lie between"},
      {"split.count huge",
       [](MemoryFiles& d) {
         GgufBuilder bad = part(0, 3, "t0");
         bad.put("split.count", raw(kGgufU64) + raw(~std::uint64_t{0}));
         d.contents[kFirst] = bad.bytes();
       },
       kFirst, "split.count must lie between"},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.what);
    MemoryFiles disk = three_parts();
    each.edit(disk);
    const auto model = open_gguf(disk, each.path);
    ASSERT_FALSE(model.ok());
    EXPECT_NE(model.status().message().find(each.message), std::string::npos) << model.status().message();
  }
}

TEST(GgufSplit, ATensorInTwoFilesIsRefused) {
  MemoryFiles disk = three_parts();
  disk.contents["m/x-00003-of-00003.gguf"] = part(2, 3, "t1").bytes();
  auto model = open_gguf(disk, kFirst);
  ASSERT_TRUE(model.ok());
  const auto index = TensorIndex::from_gguf(*model);
  ASSERT_FALSE(index.ok());
  EXPECT_NE(index.status().message().find("\"t1\" is both in"), std::string::npos) << index.status().message();
}

TEST(GgufSplit, DirectoriesListFirstFilesOnly) {
  MemoryFiles disk = three_parts();
  disk.contents["m/a.gguf"] = "";
  disk.contents["m/notes.txt"] = "";
  disk.contents["m/deeper/b.gguf"] = "";
  const auto models = list_gguf_models(disk, "m");
  ASSERT_TRUE(models.ok());
  EXPECT_EQ(models.value(), (std::vector<std::string>{"m/a.gguf", kFirst}));
  EXPECT_EQ(list_gguf_models(disk, "elsewhere").status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace foregate
