// Every way in which a GGUF file may lie, and what the refusal must name.
#include <gtest/gtest.h>

#include <functional>

#include "engine/io/gguf.h"
#include "tests/engine/weights/gguf_builder.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

struct BadFile {
  std::string what;
  std::string bytes;
  const char* message;  // must appear in the refusal
  Code code = Code::kDataLoss;
};

BadFile edited(const std::string& what, const char* message, const std::function<void(GgufBuilder&)>& edit,
               Code code = Code::kDataLoss) {
  GgufBuilder file = small_gguf();
  edit(file);
  return {what, file.bytes(), message, code};
}

BadFile with_value(const std::string& what, const std::string& type_and_value, const char* message,
                   Code code = Code::kDataLoss) {
  GgufBuilder file;
  file.put("k", type_and_value);
  return {what, file.bytes(), message, code};
}

std::vector<BadFile> bad_starts() {
  const std::string good = small_gguf().bytes();
  const auto start = [&](const std::string& bytes) { return bytes + good.substr(bytes.size()); };
  return {
      {"empty file", "", "the magic number at byte 0 needs 4 bytes but 0 are left"},
      {"three bytes", "GGU", "the magic number"},
      {"another magic", start("GGML"), "does not start with \"GGUF\""},
      {"lower case", start("gguf"), "does not start with"},
      {"safetensors", start(raw(std::uint64_t{40}) + "{\"a\":"), "does not start with"},
      {"magic alone", "GGUF", "the version"},
      {"version 0", start("GGUF" + raw(std::uint32_t{0})), "version 0; known: 2, 3", Code::kUnimplemented},
      {"version 1", start("GGUF" + raw(std::uint32_t{1})), "version 1; known: 2, 3", Code::kUnimplemented},
      {"version 4", start("GGUF" + raw(std::uint32_t{4})), "version 4; known: 2, 3", Code::kUnimplemented},
      {"version 2^32 - 1", start("GGUF" + raw(~std::uint32_t{0})), "known: 2, 3", Code::kUnimplemented},
      {"big-endian", start("GGUF" + raw(std::uint32_t{0x03000000})), "big-endian", Code::kUnimplemented},
      {"version alone", "GGUF" + raw(std::uint32_t{3}), "the number of tensors"},
      {"cut in the counts", good.substr(0, 20), "the number of keys"},
  };
}

std::vector<BadFile> bad_counts() {
  std::vector<BadFile> files;
  for (const std::int64_t more : {std::int64_t{1}, std::int64_t{1} << 31, std::int64_t{1} << 32, INT64_MAX, INT64_MIN,
                                  std::int64_t{-1} - 3, std::int64_t{1} << 60}) {
    files.push_back(edited("keys + " + std::to_string(more), more == 1 || more == -4 ? "" : "keys,",
                           [&](GgufBuilder& file) { file.more_keys = more; }));
    files.push_back(edited("tensors + " + std::to_string(more), more == 1 || more == -4 ? "" : "tensors,",
                           [&](GgufBuilder& file) { file.more_tensors = more; }));
  }
  // Fewer than there are: what is left over is read as something else.
  files.push_back(edited("one key less", "", [](GgufBuilder& file) { file.more_keys = -1; }));
  files.push_back(edited("one tensor less", "", [](GgufBuilder& file) { file.more_tensors = -1; }));
  return files;
}

std::vector<BadFile> bad_values() {
  const std::string array = raw(kGgufArray);
  std::vector<BadFile> files = {
      with_value("type 13", raw(std::uint32_t{13}) + raw(1), "value type 13 is not known"),
      with_value("type 2^32 - 1", raw(~std::uint32_t{0}) + raw(1), "is not known"),
      with_value("array of type 13", array + raw(std::uint32_t{13}) + raw(std::uint64_t{1}) + raw(1), "type 13"),
      with_value("array of arrays", array + array + raw(std::uint64_t{0}), "array of arrays", Code::kUnimplemented),
      with_value("bool 2", raw(kGgufBool) + "\2", "neither 0 nor 1"),
      with_value("array of bool 255", array + raw(kGgufBool) + raw(std::uint64_t{2}) + "\1\xff", "neither 0 nor 1"),
      with_value("string past the end", raw(kGgufString) + raw(std::uint64_t{100}) + "abc", "needs 100 bytes"),
  };
  for (const std::uint64_t size : {1ull << 31, 1ull << 32, 1ull << 61, 1ull << 63, ~0ull, ~0ull - 7}) {
    files.push_back(with_value("string of " + std::to_string(size), raw(kGgufString) + raw(size) + "abc", "needs"));
    files.push_back(with_value("u8 array of " + std::to_string(size), array + raw(std::uint32_t{0}) + raw(size) + "abc",
                               "runs past the end"));
    files.push_back(with_value("f64 array of " + std::to_string(size),
                               array + raw(std::uint32_t{12}) + raw(size) + "abc", "runs past the end"));
    files.push_back(with_value("string array of " + std::to_string(size), array + raw(kGgufString) + raw(size) + "abc",
                               "runs past the end"));
    files.push_back(with_value("a string in an array of " + std::to_string(size),
                               array + raw(kGgufString) + raw(std::uint64_t{1}) + raw(size) + "abc", "needs"));
  }
  GgufBuilder empty_key;
  empty_key.put("", raw(kGgufU32) + raw(1));
  files.push_back({"empty key", empty_key.bytes(), "a key is empty"});
  GgufBuilder long_key;
  long_key.u32(std::string(2000, 'k'), 1);
  files.push_back({"long key", long_key.bytes(), "has 2000 bytes, more than 1024"});
  files.push_back(edited("key twice", "is given twice", [](GgufBuilder& file) {
    file.metadata.emplace_back("a.u32", raw(kGgufU32) + raw(std::uint32_t{8}));
  }));
  return files;
}

std::vector<BadFile> bad_alignments() {
  std::vector<BadFile> files;
  for (const std::uint32_t value : {0u, 1u, 4u, 3u, 24u, 33u, 1u << 21, 1u << 31, ~0u}) {
    files.push_back(edited("alignment " + std::to_string(value), "general.alignment",
                           [&](GgufBuilder& file) { file.u32("general.alignment", value); }));
  }
  files.push_back(
      edited("alignment a text", "general.alignment", [](GgufBuilder& file) { file.text("general.alignment", "32"); }));
  files.push_back(
      edited("alignment a list", "general.alignment", [](GgufBuilder& file) { file.i32s("general.alignment", {32}); }));
  files.push_back(edited("alignment larger than it is", "is not aligned",
                         [](GgufBuilder& file) { file.u32("general.alignment", 128); }));
  return files;
}

BadFile shaped(const std::string& what, std::vector<std::uint64_t> dimensions, std::uint32_t type,
               const char* message) {
  return edited(what, message, [&](GgufBuilder& file) { file.tensor("bad", dimensions, type, std::string(64, 'x')); });
}

std::vector<BadFile> bad_tensors() {
  const std::uint64_t big = std::uint64_t{1} << 32;
  std::vector<BadFile> files = {
      shaped("five dimensions", {2, 2, 2, 2, 1}, kGgmlF32, "has 5 dimensions"),
      shaped("2^32 x 2^32", {big, big}, kGgmlF32, "overflows"),
      shaped("2^21 four times", {1 << 21, 1 << 21, 1 << 21, 1 << 21}, 24, "overflows"),
      shaped("2^63", {std::uint64_t{1} << 63}, 24, "overflows"),
      shaped("2^64 - 1", {~std::uint64_t{0}}, kGgmlF32, "overflows"),
      shaped("bytes overflow", {std::uint64_t{1} << 62}, kGgmlF32, "size in bytes overflows"),
      shaped("bytes overflow to the right size", {(std::uint64_t{1} << 62) + 16}, kGgmlF32, "size in bytes overflows"),
      shaped("bytes overflow of F64", {std::uint64_t{1} << 61}, 28, "size in bytes overflows"),
      shaped("one element too many", {17}, kGgmlF32, "do not lie inside"),
      shaped("2^40 elements", {1ull << 40}, kGgmlF32, "do not lie inside"),
      shaped("half a block", {16, 4}, kGgmlQ8_0, "is not whole blocks of 32 (Q8_0)"),
      shaped("no multiple of 256", {128}, 12, "is not whole blocks of 256 (Q4_K)"),
      shaped("a scalar of a block type", {}, kGgmlQ8_0, "is not whole blocks"),
  };
  for (const std::uint32_t type : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u, 42u, 255u, 1u << 31, ~0u}) {
    files.push_back(shaped("type " + std::to_string(type), {16}, type, "is not known"));
  }
  files.push_back(edited("a name twice", "is given twice", [](GgufBuilder& file) { file.counting("t.a", {8}); }));
  files.push_back(edited("an empty name", "name is empty", [](GgufBuilder& file) { file.counting("", {8}); }));
  files.push_back(
      edited("a long name", "more than 1024", [](GgufBuilder& file) { file.counting(std::string(1500, 'n'), {8}); }));
  return files;
}

std::vector<BadFile> bad_offsets() {
  const auto moved = [](const std::string& what, std::size_t tensor, std::uint64_t offset, const char* message) {
    return edited(what, message, [&](GgufBuilder& file) { file.tensors[tensor].offset = offset; });
  };
  // Data: t.a at 0 (48 bytes), t.b at 64 (68 bytes), t.c at 160 (20 bytes), end at 192.
  std::vector<BadFile> files = {
      moved("not aligned", 1, 65, "is not aligned"),
      moved("aligned to half", 1, 80, "is not aligned"),
      moved("the end of the data", 2, 192, "do not lie inside"),
      moved("past the end", 2, 224, "do not lie inside"),
      moved("2^32", 2, 1ull << 32, "do not lie inside"),
      moved("2^63", 2, 1ull << 63, "do not lie inside"),
      moved("wraps to the start", 2, ~0ull - 31, "do not lie inside"),
      moved("the same place", 1, 0, "overlaps"),
      moved("inside the one before", 1, 32, "overlaps"),
      moved("on the one before", 2, 128, "overlaps"),
      moved("a hole at the start", 0, 32, ""),
  };
  files.push_back(edited("a hole in the middle", "a hole of 60 bytes",
                         [](GgufBuilder& file) { file.tensors[1].data += std::string(60, 'h'); }));
  const std::string good = small_gguf().bytes();
  files.push_back({"32 bytes after the last", good + std::string(32, 'x'), "belong to no tensor"});
  files.push_back({"a tail of 1 MB", good + std::string(1 << 20, 'x'), "belong to no tensor"});
  files.push_back({"no tensor but data", GgufBuilder{}.bytes() + std::string(64, 'x'), "belong to no tensor"});
  return files;
}

void expect_refused(const std::vector<BadFile>& files) {
  for (const BadFile& bad : files) {
    SCOPED_TRACE(bad.what);
    MemoryFiles disk;
    disk.contents["m/x.gguf"] = bad.bytes;
    const auto header = read_gguf_header(*disk.open("m/x.gguf").value());
    ASSERT_FALSE(header.ok());
    EXPECT_EQ(header.status().code(), bad.code) << header.status().to_string();
    EXPECT_NE(header.status().message().find(bad.message), std::string::npos) << header.status().message();
    EXPECT_NE(header.status().message().find("m/x.gguf"), std::string::npos) << "the file is not named";
    EXPECT_LT(header.status().message().size(), 600u);
    EXPECT_LE(disk.largest_read, bad.bytes.size()) << "asked for more than the file holds";
  }
  std::printf("bad GGUF files refused: %zu\n", files.size());
}

TEST(BadGguf, Starts) {
  expect_refused(bad_starts());
}
TEST(BadGguf, Counts) {
  expect_refused(bad_counts());
}
TEST(BadGguf, Values) {
  expect_refused(bad_values());
}
TEST(BadGguf, Alignments) {
  expect_refused(bad_alignments());
}
TEST(BadGguf, Tensors) {
  expect_refused(bad_tensors());
}
TEST(BadGguf, Offsets) {
  expect_refused(bad_offsets());
}

TEST(BadGguf, NamesTheKeyAndTheTensor) {
  MemoryFiles disk;
  GgufBuilder file = small_gguf();
  file.tensors[1].offset = 65;
  disk.contents["x"] = file.bytes();
  EXPECT_EQ(read_gguf_header(*disk.open("x").value()).status().field(), "t.b");
  disk.contents["x"] = with_value("", raw(kGgufBool) + "\7", "").bytes;
  EXPECT_EQ(read_gguf_header(*disk.open("x").value()).status().field(), "k");
}

// Untrusted names reach messages cut and escaped.
TEST(BadGguf, MessagesStayPrintable) {
  MemoryFiles disk;
  GgufBuilder file;
  file.put("a\n\x1b[31m\xff", raw(kGgufBool) + "\7");
  disk.contents["x"] = file.bytes();
  const auto header = read_gguf_header(*disk.open("x").value());
  ASSERT_FALSE(header.ok());
  for (const char c : header.status().message()) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << header.status().message();
}

}  // namespace
}  // namespace foregate
