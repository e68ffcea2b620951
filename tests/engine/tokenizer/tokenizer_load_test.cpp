// Files that must be refused, each with the field that is wrong, and forms that must be taken.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/tokenizer/fixtures.h"

namespace foregate {
namespace {

using test::load_text;
using test::SmallFile;

void expect_refused(const SmallFile& file, Code code, const std::string& named) {
  const auto made = load_text(file.text());
  ASSERT_FALSE(made.ok()) << named;
  EXPECT_EQ(made.status().code(), code) << made.status().to_string();
  EXPECT_NE(made.status().message().find(named), std::string::npos) << made.status().to_string();
}

TEST(TokenizerLoad, SmallFileLoadsAndMerges) {
  auto made = load_text(SmallFile{}.text());
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  const auto& tokenizer = **made;
  EXPECT_EQ(tokenizer.vocab_size(), 7);
  EXPECT_EQ(tokenizer.encode("abcdab<end>").value(), (std::vector<Token>{5, 3, 4, 6}));
  EXPECT_TRUE(tokenizer.is_special(6));
  EXPECT_FALSE(tokenizer.is_special(5));
  EXPECT_EQ(tokenizer.token_id("<end>"), 6);
  EXPECT_EQ(tokenizer.token_id("abc"), 5);
  EXPECT_FALSE(tokenizer.token_id("zz").has_value());
}

TEST(TokenizerLoad, BrokenJson) {
  const std::string whole = SmallFile{}.text();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(load_text(whole.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(load_text("[]").ok());
  EXPECT_FALSE(load_text(whole + "x").ok());
  EXPECT_FALSE(load_text("{\"model\":" + std::string(100000, '[')).ok());
  EXPECT_FALSE(load_text(R"({"model":{"type":"BPE","vocab":{"\ud800":0},"merges":[]}})").ok());
}

TEST(TokenizerLoad, EveryByteChangedNeverCrashes) {
  const std::string whole = SmallFile{}.text();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const char value : {'\0', '"', '9', '}', '\xff'}) {
      std::string changed = whole;
      changed[at] = value;
      const auto made = load_text(changed);
      if (!made.ok()) continue;
      EXPECT_TRUE(made.value()->encode("abcd<end>").ok()) << changed;
    }
  }
}

TEST(TokenizerLoad, UnsupportedTypesAreNamed) {
  for (const char* type : {"WordPiece", "Unigram", "WordLevel", "Other"}) {
    SmallFile file;
    file.options = std::string(R"("type":")") + type + "\",";
    expect_refused(file, Code::kUnimplemented, type);
  }
  SmallFile unigram;
  unigram.options = R"("type":"Unigram",)";
  unigram.vocab = R"([["a",-1.0]])";
  expect_refused(unigram, Code::kUnimplemented, "Unigram");
  SmallFile file;
  file.normalizer = R"({"type":"BertNormalizer"})";
  expect_refused(file, Code::kUnimplemented, "normalizer of type \"BertNormalizer\"");
  file = {};
  file.pre_tokenizer =
      R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":true},{"type":"UnicodeScripts"}]})";
  expect_refused(file, Code::kUnimplemented, "pre_tokenizer.pretokenizers[1] of type \"UnicodeScripts\"");
  file = {};
  file.decoder = R"({"type":"CTC"})";
  expect_refused(file, Code::kUnimplemented, "decoder of type \"CTC\"");
  file = {};
  file.post_processor = R"({"type":"BertProcessing"})";
  expect_refused(file, Code::kUnimplemented, "post_processor of type \"BertProcessing\"");
}

TEST(TokenizerLoad, UnsupportedModelOptionsAreNamed) {
  for (const char* option :
       {R"("dropout":0.1)", R"("continuing_subword_prefix":"##")", R"("end_of_word_suffix":"</w>")"}) {
    SmallFile file;
    file.options = std::string(R"("type":"BPE",)") + option + ",";
    expect_refused(file, Code::kUnimplemented, "model.");
  }
  SmallFile empty;
  empty.options = R"("dropout":null,"continuing_subword_prefix":"","end_of_word_suffix":"","unk_token":null,)";
  EXPECT_TRUE(load_text(empty.text()).ok());
}

TEST(TokenizerLoad, BadVocabulary) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":4})", "id 4 is given to"},
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":-1})", "id -1"},
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":2147483648})", "out of range"},
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":18446744073709551615})", "out of range"},
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":5,"a":7})", "appears twice"},
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":1.5})", "whole number"},
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":"5"})", "whole number"},
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":{}})", "whole number"},
      {R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":null})", "whole number"},
      {R"({})", "empty"},
      {R"([])", "model.vocab"},
      {R"(7)", "model.vocab"},
  };
  for (const auto& [vocab, named] : cases) {
    SmallFile file;
    file.vocab = vocab;
    expect_refused(file, Code::kDataLoss, named);
  }
}

TEST(TokenizerLoad, BadMerges) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"(["a z"])", "model.merges[0]"},
      {R"(["a b","b c"])", "merged token is not in the vocabulary"},
      {R"(["a b c"])", "model.merges[0]"},
      {R"(["ab"])", "model.merges[0]"},
      {R"([["a"]])", "does not have two parts"},
      {R"([["a","b","c"]])", "more than two"},
      {R"([["a",1]])", "model.merges"},
      {R"([1])", "model.merges"},
      {R"([["a",["b"]]])", "model.merges"},
      {R"([["","a"]])", "a part is empty"},
      {R"([" a"])", "a part is empty"},
      {R"([{"a":"b"}])", "model.merges"},
      {R"({})", "model.merges"},
      {R"(null)", "model.merges"},
  };
  for (const auto& [merges, named] : cases) {
    SmallFile file;
    file.merges = merges;
    expect_refused(file, Code::kDataLoss, named);
  }
}

TEST(TokenizerLoad, TooManyMergesStopTheRead) {
  SmallFile file;
  std::string merges = "[";
  merges.reserve(60'000'000);
  for (int i = 0; i < 10'000'000; ++i) merges += "\"a b\",";
  file.merges = merges + "\"a b\"]";
  expect_refused(file, Code::kDataLoss, "more than 4194304");
}

TEST(TokenizerLoad, BadAddedTokens) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"([{"id":9,"content":"<end>"}])", "added_tokens[0].id is 9 where 6 belongs"},
      {R"([{"id":6,"content":"ab"}])", "where 4 belongs"},
      {R"([{"id":6,"content":""}])", "added_tokens[0].content"},
      {R"([{"id":6,"content":"x"},{"id":7,"content":"x"}])", "appears twice"},
      {R"([{"id":-6,"content":"x"}])", "added_tokens[0].id"},
      {R"([{"id":18446744073709551615,"content":"x"}])", "added_tokens[0].id"},
      {R"([{"id":6}])", "added_tokens[0].content"},
      {R"([{"content":"x"}])", "added_tokens[0].id"},
      {R"([{"id":6,"content":"x","lstrip":1}])", "added_tokens[0].lstrip"},
      {R"([7])", "added_tokens[0]"},
      {R"({"a":1})", "added_tokens"},
  };
  for (const auto& [added, named] : cases) {
    SmallFile file;
    file.added = added;
    expect_refused(file, Code::kDataLoss, named);
  }
}

TEST(TokenizerLoad, BadPatterns) {
  for (const char* pattern : {"(", "*a", "[a", "a)", "(?<=a+)b", "\\p{L", "[z-a]", "a{2000}", "a\\", "x{3,2}"}) {
    SmallFile file;
    std::string escaped;
    for (const char* c = pattern; *c; ++c) escaped += *c == '\\' ? std::string("\\\\") : std::string(1, *c);
    file.pre_tokenizer =
        R"({"type":"Split","pattern":{"Regex":")" + escaped + R"("},"behavior":"Isolated","invert":false})";
    expect_refused(file, Code::kDataLoss, "pre_tokenizer.pattern");
  }
  SmallFile deep;
  deep.pre_tokenizer = R"({"type":"Split","pattern":{"Regex":")" + std::string(20000, '(') + std::string(20000, ')') +
                       R"("},"behavior":"Isolated","invert":false})";
  expect_refused(deep, Code::kDataLoss, "pre_tokenizer.pattern");
}

TEST(TokenizerLoad, BadComponents) {
  SmallFile file;
  file.post_processor =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<end>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<end>":{"ids":[99]}}})";
  expect_refused(file, Code::kDataLoss, "id 99");
  file.post_processor =
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<end>"}}],"special_tokens":{}})";
  expect_refused(file, Code::kDataLoss, "not in special_tokens");
  file = {};
  file.pre_tokenizer = R"({"type":"Split","pattern":{"String":" "},"behavior":"Upside","invert":false})";
  expect_refused(file, Code::kUnimplemented, "Upside");
  file.pre_tokenizer = R"({"type":"Metaspace","replacement":"__"})";
  expect_refused(file, Code::kDataLoss, "pre_tokenizer.replacement");
  file.pre_tokenizer = R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first","add_prefix_space":false})";
  expect_refused(file, Code::kDataLoss, "contradicts");
  file = {};
  file.decoder = R"({"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"ByteFallback"}]})";
  expect_refused(file, Code::kUnimplemented, "ByteFallback behind");
  file.decoder = R"({"type":"Strip","content":" ","start":-1,"stop":0})";
  expect_refused(file, Code::kDataLoss, "decoder.start");
}

TEST(TokenizerLoad, OldMetaspaceFormIsTaken) {
  SmallFile file;
  file.vocab = R"({"a":0,"b":1,"c":2,"_":3,"ab":4,"abc":5})";
  file.pre_tokenizer = R"({"type":"Metaspace","replacement":"_","add_prefix_space":true})";
  auto made = load_text(file.text());
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  EXPECT_EQ((*made)->encode("ab c").value(), (std::vector<Token>{3, 4, 3, 2}));
  file.pre_tokenizer = R"({"type":"Metaspace","replacement":"_","add_prefix_space":false})";
  made = load_text(file.text());
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->encode("ab c").value(), (std::vector<Token>{4, 3, 2}));
}

}  // namespace
}  // namespace foregate
