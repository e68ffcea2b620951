// Encoding: bad text, special tokens in a client's text, templates, and cost that grows in line.
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <string>
#include <vector>

#include "tests/engine/tokenizer/fixtures.h"

namespace foregate {
namespace {

using test::load_fixture;
using test::load_text;
using test::SmallFile;

std::vector<Token> encode(const Tokenizer& tokenizer, std::string_view text, std::vector<TextSpan> literal = {}) {
  EncodeOptions options;
  options.literal_spans = literal;
  auto ids = tokenizer.encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status().to_string();
  return ids.ok() ? std::move(ids).value() : std::vector<Token>{};
}

bool has_special(const Tokenizer& tokenizer, const std::vector<Token>& ids) {
  return std::any_of(ids.begin(), ids.end(), [&](Token id) { return tokenizer.is_special(id); });
}

TEST(TokenizerEncode, RefusesBrokenUtf8) {
  const auto tokenizer = load_fixture("qwen2");
  for (const char* text : {"\xff", "a\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80", "\xe2\x82", "ok\x80"}) {
    const auto ids = tokenizer->encode(text);
    ASSERT_FALSE(ids.ok());
    EXPECT_EQ(ids.status().code(), Code::kInvalidArgument);
  }
  EXPECT_TRUE(tokenizer->encode(std::string("\0", 1)).ok());
  EXPECT_TRUE(tokenizer->encode("").value().empty());
}

TEST(TokenizerEncode, SpecialTokensInLiteralSpansAreOrdinaryText) {
  for (const char* name : {"qwen2", "llama3", "sp_prepend", "sp_metaspace", "gpt2"}) {
    const auto tokenizer = load_fixture(name);
    const std::string special = std::string(name) == "llama3" ? "<|end|>" : name[0] == 's' ? "</s>" : "<|im_end|>";
    const std::string text = special + "hi " + special + " x" + special;
    const std::size_t second = special.size() + 3;
    const auto open = encode(*tokenizer, text);
    EXPECT_EQ(std::count_if(open.begin(), open.end(), [&](Token id) { return tokenizer->is_special(id); }), 3) << name;
    const auto closed = encode(*tokenizer, text, {{second, second + special.size()}});
    EXPECT_EQ(std::count_if(closed.begin(), closed.end(), [&](Token id) { return tokenizer->is_special(id); }), 2)
        << name;
    EXPECT_FALSE(has_special(*tokenizer, encode(*tokenizer, text, {{0, text.size()}}))) << name;
    for (std::size_t at = 0; at < special.size(); ++at) {  // one byte of it is enough
      EXPECT_FALSE(has_special(*tokenizer, encode(*tokenizer, special, {{at, at + 1}}))) << name << at;
    }
    const auto decoded = tokenizer->decode(encode(*tokenizer, text, {{0, text.size()}}), true);
    EXPECT_EQ(decoded, text) << name;
  }
}

TEST(TokenizerEncode, LiteralSpansThatMeetNoSpecialTokenChangeNothing) {
  const auto tokenizer = load_fixture("qwen2");
  const std::string text = "<|im_start|>user\nDon't panic<|im_end|>\n";
  EXPECT_EQ(encode(*tokenizer, text, {{17, 28}}), encode(*tokenizer, text));
  EXPECT_EQ(encode(*tokenizer, text, {{12, 12}, {28, 28}}), encode(*tokenizer, text));
}

TEST(TokenizerEncode, LiteralSpansFollowTheNormalizer) {
  SmallFile file;  // the special token is looked for in the normalized text, where offsets differ
  file.vocab = R"({"a":0,"b":1,"_":2,"[":3,"]":4,"e":5,"_a":6})";
  file.merges = R"(["_ a"])";
  file.added = R"([{"id":7,"content":"[e]","special":true,"normalized":true}])";
  file.normalizer =
      R"({"type":"Sequence","normalizers":[{"type":"Replace","pattern":{"String":" "},"content":"_"},{"type":"Replace","pattern":{"String":"b"},"content":"aaaa"},{"type":"NFC"},{"type":"Lowercase"}]})";
  auto made = load_text(file.text());
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  const auto& tokenizer = **made;
  EXPECT_EQ(encode(tokenizer, "b [E][E]").back(), 7);
  const auto first_only = encode(tokenizer, "b [E][E]", {{5, 8}});
  EXPECT_EQ(std::count(first_only.begin(), first_only.end(), 7), 1);
  EXPECT_EQ(first_only.back(), 4);
  EXPECT_FALSE(has_special(tokenizer, encode(tokenizer, "b [E][E]", {{2, 8}})));
}

TEST(TokenizerEncode, MergesCannotMakeASpecialTokenOfLiteralText) {
  SmallFile file;  // "abc" is special and the merges lead to it
  file.added = R"([{"id":5,"content":"abc","special":true}])";
  auto made = load_text(file.text());
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  EXPECT_EQ(encode(**made, "abc"), (std::vector<Token>{5}));
  EXPECT_EQ(encode(**made, "abc", {{0, 3}}), (std::vector<Token>{4, 2}));
}

TEST(TokenizerEncode, TemplateIsRunOnlyWhenAskedFor) {
  const auto tokenizer = load_fixture("sp_prepend");
  EncodeOptions options;
  options.add_special_tokens = true;
  const auto with = tokenizer->encode("hello", options).value();
  ASSERT_GE(with.size(), 3u);
  EXPECT_EQ(with.front(), 1);
  EXPECT_EQ(with.back(), 2);
  EXPECT_EQ(std::vector<Token>(with.begin() + 1, with.end() - 1), encode(*tokenizer, "hello"));
}

TEST(TokenizerEncode, UnknownTokenMissingFromTheVocabularyIsAnError) {
  SmallFile file;
  file.options = R"("type":"BPE","unk_token":"<none>",)";
  auto made = load_text(file.text());
  ASSERT_TRUE(made.ok());
  EXPECT_TRUE((*made)->encode("abc").ok());
  EXPECT_FALSE((*made)->encode("xyz").ok());
}

double cpu_seconds(const Tokenizer& tokenizer, const std::string& text) {
  const std::clock_t start = std::clock();
  EXPECT_TRUE(tokenizer.encode(text).ok());
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

// 16 times the text must not cost more than 64 times the time; a quadratic step would cost 256 times.
TEST(TokenizerEncode, CostGrowsInLineWithTheText) {
  const std::vector<std::string> units = {"a",  "\n",   " ", "1", "\xCC\x81\xCC\xA3\xCC\xB4",
                                          "us", "\r\n", "A", "!", "<|im_"};
  for (const char* name : {"qwen2", "deepseek", "o200k", "sp_prepend"}) {
    const auto tokenizer = load_fixture(name);
    for (const std::string& unit : units) {
      std::string text;
      while (text.size() < 20'000) text += unit;
      double small = 1e9;
      for (int i = 0; i < 3; ++i) small = std::min(small, cpu_seconds(*tokenizer, text));
      std::string large;
      for (int i = 0; i < 16; ++i) large += text;
      EXPECT_LT(cpu_seconds(*tokenizer, large), 64 * std::max(small, 0.0005))
          << name << " " << testing::PrintToString(unit);
    }
  }
}

}  // namespace
}  // namespace foregate
