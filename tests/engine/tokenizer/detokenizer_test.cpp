// Streams of tokens: whole characters only, and together the same text as decode().
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/text/tokenizer_unicode.h"
#include "tests/engine/tokenizer/fixtures.h"

namespace foregate {
namespace {

using test::load_fixture;

const std::vector<std::string> kStyles = {"gpt2",         "qwen2",      "llama3",       "deepseek",  "sp_prepend",
                                          "sp_metaspace", "sp_unknown", "added_tokens", "no_decoder"};

// Pushes all ids; checks every portion, and that every prefix of the stream is a prefix of the text.
void check_stream(const Tokenizer& tokenizer, const std::vector<Token>& ids, bool skip, const std::string& name) {
  const std::string whole = tokenizer.decode(ids, skip);
  Detokenizer stream(tokenizer, skip);
  std::string so_far;
  for (const Token id : ids) {
    const std::string portion = stream.push(id);
    EXPECT_EQ(tok::utf8_first_error(portion), std::string::npos) << name;
    so_far += portion;
    ASSERT_EQ(whole.compare(0, so_far.size(), so_far), 0) << name;
  }
  so_far += stream.finish();
  ASSERT_EQ(so_far, whole) << name;
}

TEST(Detokenizer, RandomIdsInEveryStyle) {
  std::mt19937 random(7);
  for (const std::string& name : kStyles) {
    const auto tokenizer = load_fixture(name);
    for (int round = 0; round < 300; ++round) {
      std::vector<Token> ids(random() % 24);
      // The low ids hold the single bytes: broken characters of every kind.
      for (Token& id : ids)
        id = static_cast<Token>(random() % (round % 2 ? 270 : tokenizer->vocab_size() + 2)) - (round % 3 == 0);
      check_stream(*tokenizer, ids, round % 2 == 0, name);
    }
  }
}

TEST(Detokenizer, TextComesBackWhole) {
  const std::string text = "na\xC3\xAFve \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80  end\n";
  for (const char* name : {"gpt2", "llama3", "deepseek", "sp_prepend", "sp_metaspace"}) {
    const auto tokenizer = load_fixture(name);
    const auto ids = tokenizer->encode(text).value();
    EXPECT_EQ(tokenizer->decode(ids), text) << name;
    check_stream(*tokenizer, ids, true, name);
  }
}

TEST(Detokenizer, HoldsBackHalfACharacter) {
  const auto tokenizer = load_fixture("gpt2");
  const auto ids = tokenizer->encode("\xF0\x9F\xA6\x9C").value();  // not a token of its own: several ids
  ASSERT_GT(ids.size(), 1u);
  Detokenizer stream(*tokenizer, true);
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_EQ(stream.push(ids[i]), "");
  EXPECT_EQ(stream.push(ids.back()), "\xF0\x9F\xA6\x9C");
  Detokenizer cut(*tokenizer, true);
  EXPECT_EQ(cut.push(ids[0]), "");
  EXPECT_EQ(cut.finish(), "\xEF\xBF\xBD");
}

TEST(Detokenizer, SpecialTokensAreSkippedOnRequest) {
  const auto tokenizer = load_fixture("qwen2");
  const auto ids = tokenizer->encode("a<|im_end|>b").value();
  EXPECT_EQ(tokenizer->decode(ids, true), "ab");
  EXPECT_EQ(tokenizer->decode(ids, false), "a<|im_end|>b");
}

TEST(Detokenizer, TokenBytesJoinToTheText) {
  const std::string text = "It's 5 \xE2\x82\xAC, ok \xF0\x9F\xA6\x9C";
  for (const char* name : {"gpt2", "qwen2", "deepseek"}) {
    const auto tokenizer = load_fixture(name);
    std::string joined;
    const auto ids = tokenizer->encode(text).value();
    for (const Token id : ids) joined += tokenizer->token_bytes(id);
    EXPECT_EQ(joined, text) << name;
  }
  const auto spaced = load_fixture("sp_prepend");
  EXPECT_EQ(spaced->token_bytes(*spaced->token_id("<0xF0>")), "\xF0");
  EXPECT_EQ(spaced->token_bytes(*spaced->token_id("\xE2\x96\x81")), " ");
  EXPECT_EQ(spaced->token_bytes(-1), "");
  EXPECT_EQ(spaced->token_bytes(1 << 30), "");
}

// A tokenizer that gives bytes only, as a test of another folder may have.
class BytesOnly : public Tokenizer {
 public:
  Result<std::vector<Token>> encode(std::string_view text, const EncodeOptions&) const override {
    return std::vector<Token>(text.begin(), text.end());
  }
  std::string decode(std::span<const Token>, bool) const override { return {}; }
  std::string token_bytes(Token id) const override { return std::string(1, static_cast<char>(id)); }
  std::optional<Token> token_id(std::string_view) const override { return std::nullopt; }
  bool is_special(Token id) const override { return id == 0; }
  std::int32_t vocab_size() const override { return 256; }
};

TEST(Detokenizer, WorksWithoutAStreamOfTheTokenizer) {
  const BytesOnly tokenizer;
  Detokenizer stream(tokenizer, true);
  EXPECT_EQ(stream.push(0xE2), "");
  EXPECT_EQ(stream.push(0x82), "");
  EXPECT_EQ(stream.push(0xAC), "\xE2\x82\xAC");
  EXPECT_EQ(stream.push(0), "");
  EXPECT_EQ(stream.push(0xE2), "");
  EXPECT_EQ(stream.push('a'),
            "\xEF\xBF\xBD"
            "a");
  EXPECT_EQ(stream.push(0xF0), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace foregate
