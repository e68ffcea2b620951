// Every way in which a safetensors file may lie, and what the refusal must name.
#include <gtest/gtest.h>

#include "engine/weights/tensor_index.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

constexpr const char* kPath = "m/model.safetensors";

struct BadFile {
  const char* what;
  std::string bytes;
  const char* message;  // must appear in the refusal
};

std::string two(const std::string& a, const std::string& b, std::size_t data_bytes) {
  return safetensors("{" + a + "," + b + "}", data_bytes);
}

std::string one(const std::string& description, std::size_t data_bytes) {
  return safetensors("{\"t\":" + description + "}", data_bytes);
}

std::string nested(const std::string& open, const std::string& close, int depth) {
  std::string text;
  for (int i = 0; i < depth; ++i) text += open;
  for (int i = 0; i < depth; ++i) text += close;
  return text;
}

std::vector<BadFile> bad_lengths() {
  const std::string good = "{" + tensor("t", "F32", "2", "0", "8") + "}";
  return {
      {"empty file", "", "too few"},
      {"seven bytes", "1234567", "too few"},
      {"length alone, zero", with_length(0, ""), "too small"},
      {"length 0", with_length(0, good), "too small"},
      {"length 1", with_length(1, good), "too small"},
      {"length 7 cuts the header", with_length(7, good), "not valid JSON"},
      {"length one short", with_length(good.size() - 1, good + "12345678"), "not valid JSON"},
      {"length at the end plus one", with_length(good.size() + 9, good + "12345678"), "past the file's end"},
      {"length 100 MB", with_length(100'000'000, good), "past the file's end"},
      {"length 100 MB + 1", with_length(100'000'001, good), "over the cap"},
      {"length 2^31", with_length(1ull << 31, good), "over the cap"},
      {"length 2^32", with_length(1ull << 32, good), "over the cap"},
      {"length 2^63", with_length(1ull << 63, good), "over the cap"},
      {"length 2^64 - 8", with_length(~0ull - 7, good), "over the cap"},
      {"length 2^64 - 1", with_length(~0ull, good), "over the cap"},
  };
}

std::vector<BadFile> bad_json() {
  const std::string good = tensor("t", "F32", "2", "0", "8");
  return {
      {"starts with a space", safetensors(" {" + good + "}", 8), "does not start with '{'"},
      {"starts with a bracket", safetensors("[1,2]", 0), "does not start with '{'"},
      {"starts with NUL", safetensors(std::string(16, '\0'), 0), "does not start with '{'"},
      {"not closed", safetensors("{" + good, 8), "not valid JSON"},
      {"trailing text", safetensors("{" + good + "}x", 8), "not valid JSON"},
      {"two values", safetensors("{" + good + "}{}", 8), "not valid JSON"},
      {"NUL padding", safetensors("{" + good + "}" + std::string(3, '\0'), 8), "not valid JSON"},
      {"bad escape", safetensors("{\"\\q\":1}", 0), "not valid JSON"},
      {"not UTF-8", safetensors("{\"\xff\xfe\":1}", 0), "not valid JSON"},
      {"lone surrogate", safetensors("{\"\\ud800\":1}", 0), "not valid JSON"},
      {"tensor twice", two(good, good, 8), "given twice"},
      {"field twice", one("{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", 8),
       "\"dtype\" is given twice"},
      {"deep arrays", safetensors("{\"t\":" + nested("[", "]", 100'000) + "}", 0), "nested deeper"},
      {"an object of something else", safetensors("{\"t\":{\"a\":1}}", 0), "dtype is missing"},
      {"text after a NUL", safetensors("{" + good + "}" + std::string(1, '\0') + "x", 8), "NUL byte"},
      {"very deep objects", safetensors(nested("{\"a\":", "", 50'000), 0), "nested deeper"},
      {"shape five deep", one("{\"dtype\":\"F32\",\"shape\":[[[[2]]]],\"data_offsets\":[0,8]}", 8), "nested deeper"},
      {"number too long", safetensors("{\"t\":" + std::string(1'000'000, '9') + "}", 0), "not valid JSON"},
      {"number out of range", safetensors("{\"t\":1e999999}", 0), "not valid JSON"},
  };
}

std::vector<BadFile> bad_fields() {
  const auto described = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return "{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
  };
  return {
      {"tensor is a number", one("5", 0), "not an object"},
      {"tensor is null", one("null", 0), "not an object"},
      {"tensor is a list", one("[]", 0), "not an object"},
      {"no dtype", one("{\"shape\":[2],\"data_offsets\":[0,8]}", 8), "dtype is missing"},
      {"no shape", one("{\"dtype\":\"F32\",\"data_offsets\":[0,8]}", 8), "shape is missing"},
      {"no offsets", one("{\"dtype\":\"F32\",\"shape\":[2]}", 8), "data_offsets is missing"},
      {"a fourth field", one("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}", 8), "other than"},
      {"dtype a number", one(described("4", "[2]", "[0,8]"), 8), "dtype is not a string"},
      {"dtype unknown", one(described("\"F33\"", "[2]", "[0,8]"), 8), "unknown dtype \"F33\""},
      {"dtype lower case", one(described("\"f32\"", "[2]", "[0,8]"), 8), "unknown dtype"},
      {"dtype empty", one(described("\"\"", "[2]", "[0,8]"), 8), "unknown dtype"},
      {"dtype long", one(described("\"" + std::string(100'000, 'F') + "\"", "[2]", "[0,8]"), 8), "unknown dtype"},
      {"shape a number", one(described("\"F32\"", "2", "[0,8]"), 8), "shape is not an array"},
      {"shape negative", one(described("\"F32\"", "[-2]", "[0,8]"), 8), "shape holds"},
      {"shape fractional", one(described("\"F32\"", "[2.0]", "[0,8]"), 8), "shape holds"},
      {"shape text", one(described("\"F32\"", "[\"2\"]", "[0,8]"), 8), "shape holds"},
      {"shape null", one(described("\"F32\"", "[null]", "[0,8]"), 8), "shape holds"},
      {"shape nested", one(described("\"F32\"", "[[2]]", "[0,8]"), 8), "shape holds"},
      {"shape 2^63", one(described("\"U8\"", "[9223372036854775808]", "[0,8]"), 8), "shape holds"},
      {"shape 2^64", one(described("\"U8\"", "[18446744073709551616]", "[0,8]"), 8), "shape holds"},
      {"nine dimensions", one(described("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8), "8 dimensions"},
      {"offsets one", one(described("\"F32\"", "[2]", "[0]"), 8), "data_offsets is not a pair"},
      {"offsets three", one(described("\"F32\"", "[2]", "[0,8,8]"), 8), "data_offsets is not a pair"},
      {"offsets text", one(described("\"F32\"", "[2]", "\"0,8\""), 8), "data_offsets is not a pair"},
      {"offsets negative", one(described("\"F32\"", "[2]", "[-8,0]"), 8), "data_offsets is not a pair"},
      {"offsets fractional", one(described("\"F32\"", "[2]", "[0,8.0]"), 8), "data_offsets is not a pair"},
      {"metadata a list", safetensors("{\"__metadata__\":[]}", 0), "__metadata__ is not an object"},
      {"metadata value a number", safetensors("{\"__metadata__\":{\"a\":1}}", 0), "__metadata__.a is not a string"},
      {"metadata nested", safetensors("{\"__metadata__\":{\"a\":{}}}", 0), "__metadata__.a is not a string"},
  };
}

std::vector<BadFile> bad_ranges() {
  const auto t = [](const char* dtype, const char* shape, const char* begin, const char* end, std::size_t bytes) {
    return safetensors("{" + tensor("t", dtype, shape, begin, end) + "}", bytes);
  };
  const std::string first = tensor("a", "F32", "2", "0", "8");
  return {
      {"too few bytes for the shape", t("F32", "3", "0", "8", 8), "need 12 bytes but data_offsets span 8"},
      {"too many bytes for the shape", t("F32", "1", "0", "8", 8), "need 4 bytes but data_offsets span 8"},
      {"dtype narrower than the range", t("F16", "2", "0", "8", 8), "need 4 bytes"},
      {"dtype wider than the range", t("F64", "2", "0", "8", 8), "need 16 bytes"},
      {"empty shape is one element", t("F32", "", "0", "8", 8), "need 4 bytes"},
      {"zero dimension with bytes", t("F32", "0,5", "0", "8", 8), "need 0 bytes"},
      {"product overflows 64 bits", t("F32", "4294967296,4294967296", "0", "0", 0), "overflows"},
      {"product overflows to the right size", t("F32", "4611686018427387906", "0", "8", 8), "overflows"},
      {"product overflows in three steps", t("U8", "2097152,2097152,2097152,2097152", "0", "0", 0), "overflows"},
      {"2^63 - 1 elements", t("U8", "9223372036854775807", "0", "8", 8), "need 9223372036854775807"},
      {"backwards", t("F32", "2", "8", "0", 8), "run backwards"},
      {"end one past the file", t("U8", "9", "0", "9", 8), "ends at byte 9 but the file holds 8"},
      {"end 2^32", t("U8", "4294967296", "0", "4294967296", 8), "ends at byte"},
      {"end 2^63", t("U8", "8", "9223372036854775800", "9223372036854775808", 8), "ends at byte"},
      {"end 2^64 - 1", t("U8", "8", "18446744073709551607", "18446744073709551615", 8), "ends at byte"},
      {"end wraps with the header", t("U8", "8", "18446744073709551500", "18446744073709551508", 8), "ends at byte"},
      {"end 2^64", t("U8", "8", "0", "18446744073709551616", 8), "data_offsets is not a pair"},
      {"hole at the start", t("F32", "1", "4", "8", 8), "hole of 4 bytes"},
      {"hole in the middle", two(first, tensor("b", "F32", "1", "12", "16"), 16), "hole of 4 bytes"},
      {"bytes after the last", t("F32", "1", "0", "4", 8), "4 bytes at its end belong to no tensor"},
      {"same range twice", two(first, tensor("b", "F32", "2", "0", "8"), 8), "overlaps"},
      {"overlap by one byte", two(first, tensor("b", "U8", "9", "7", "16"), 16), "overlaps"},
      {"one inside the other", two(first, tensor("b", "U8", "2", "3", "5"), 8), "overlaps"},
      {"no tensor but data", safetensors("{}", 4), "belong to no tensor"},
      {"truncated data", safetensors("{" + first + "}", 7), "ends at byte 8 but the file holds 7"},
      {"no data at all", safetensors("{" + first + "}", 0), "ends at byte 8 but the file holds 0"},
  };
}

void expect_refused(const std::vector<BadFile>& files) {
  for (const BadFile& bad : files) {
    SCOPED_TRACE(bad.what);
    MemoryFiles disk;
    disk.contents[kPath] = bad.bytes;
    const auto index = TensorIndex::open(disk, "m");
    ASSERT_FALSE(index.ok());
    EXPECT_EQ(index.status().code(), Code::kDataLoss);
    EXPECT_NE(index.status().message().find(bad.message), std::string::npos) << index.status().message();
    EXPECT_NE(index.status().message().find(kPath), std::string::npos) << "the file is not named";
    EXPECT_LT(index.status().message().size(), 600u);
    EXPECT_LE(disk.largest_read, bad.bytes.size()) << "asked for more than the file holds";
  }
  std::printf("bad safetensors files refused: %zu\n", files.size());
}

TEST(BadSafetensors, HeaderLengths) {
  expect_refused(bad_lengths());
}
TEST(BadSafetensors, HeaderJson) {
  expect_refused(bad_json());
}
TEST(BadSafetensors, Fields) {
  expect_refused(bad_fields());
}
TEST(BadSafetensors, Ranges) {
  expect_refused(bad_ranges());
}

TEST(BadSafetensors, NamesTheTensor) {
  MemoryFiles disk;
  disk.contents[kPath] = safetensors("{" + tensor("model.norm.weight", "F32", "3", "0", "8") + "}", 8);
  const auto index = TensorIndex::open(disk, "m");
  ASSERT_FALSE(index.ok());
  EXPECT_EQ(index.status().field(), "model.norm.weight");
}

}  // namespace
}  // namespace foregate
