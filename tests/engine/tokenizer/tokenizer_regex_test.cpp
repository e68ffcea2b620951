// Oniguruma patterns as PCRE2 runs them: what differs between the two, and what is refused.
#include "engine/text/tokenizer_regex.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace foregate::tok {
namespace {

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  auto regex = Regex::compile(pattern, "pattern");
  EXPECT_TRUE(regex.ok()) << pattern << ": " << regex.status().to_string();
  std::vector<std::string> found;
  if (!regex.ok()) return found;
  RegexScan scan(*regex);
  scan.start(text);
  std::size_t begin = 0, end = 0;
  while (scan.next(&begin, &end)) found.push_back(text.substr(begin, end - begin));
  EXPECT_TRUE(scan.status().ok());
  return found;
}

using Texts = std::vector<std::string>;

TEST(TokenizerRegex, RubySyntaxDiffersFromPerl) {
  EXPECT_EQ(matches("\\p{N}{1,3}+", "1234567"), Texts{"1234567"});  // repeats, where Perl is possessive
  EXPECT_EQ(matches("a{2}?b", "aab b"), (Texts{"aab", "b"}));       // optional, where Perl is lazy
  EXPECT_EQ(matches("a{,2}b", "aaab"), Texts{"aab"});
  EXPECT_EQ(matches("x{a}", "x{a}"), Texts{"x{a}"});
  EXPECT_EQ(matches("^b", "a\nb"), Texts{"b"});
  EXPECT_EQ(matches("\\h+", "xyz12Af g"), Texts{"12Af"});
  EXPECT_EQ(matches("(?m:a.b)", "a\nb"), Texts{"a\nb"});
  EXPECT_EQ(matches("a.b", "a\nb"), Texts{});
  EXPECT_EQ(matches("a(?i)b|c", "aB aC ac"), (Texts{"aB", "aC", "ac"}));
}

TEST(TokenizerRegex, ClassesFollowUnicode) {
  EXPECT_EQ(matches("\\s", "\xE1\xA0\x8E"), Texts{});  // U+180E is no space
  EXPECT_EQ(matches("\\s", "\xC2\xA0").size(), 1u);
  EXPECT_EQ(matches("\\p{L}", "\xF0\xB1\x8D\x90").size(), 1u);  // U+31350, Unicode 15
  EXPECT_EQ(matches("[^\\p{L}]", "\xF0\xB1\x8D\x90"), Texts{});
  EXPECT_EQ(matches("[\\p{L}&&[^\\p{Han}]]+",
                    "ab\xE4\xB8\xAD"
                    "cd"),
            (Texts{"ab", "cd"}));
  EXPECT_EQ(matches("[^a-c[x-z]]+", "abmnxy"), Texts{"mn"});
  EXPECT_EQ(matches("[\\S]+", "a b"), (Texts{"a", "b"}));
}

TEST(TokenizerRegex, EmptyMatchesMoveOn) {
  EXPECT_EQ(matches("x*", "axxb"), (Texts{"", "xx", ""}));
  EXPECT_EQ(matches("", "ab").size(), 3u);
}

TEST(TokenizerRegex, RefusesWhatItDoesNotKnow) {
  for (const char* pattern : {"(a)\\1", "\\k<n>", "\\X", "\\R", "\\K", "[[:alpha:]]", "(?x)a b", "\\p{Emoji}", "\\cA",
                              "(?~a)", "(?(1)a)", "\\xE9", "[]a]", "\\y", "(?P<n>a)", "\\g<1>", "\\012"}) {
    const auto made = Regex::compile(pattern, "here");
    ASSERT_FALSE(made.ok()) << pattern;
    EXPECT_EQ(made.status().code(), Code::kUnimplemented) << pattern << made.status().to_string();
    EXPECT_NE(made.status().message().find("here"), std::string::npos);
  }
}

TEST(TokenizerRegex, CatastrophicPatternsStopAtTheirBound) {
  auto made = Regex::compile("(?:a|a)*(?:a|a)*(?:a|a)*[bc]", "here");
  ASSERT_TRUE(made.ok());
  RegexScan scan(*made);
  const std::string text(200, 'a');
  scan.start(text);
  std::size_t begin = 0, end = 0;
  EXPECT_FALSE(scan.next(&begin, &end));
  EXPECT_EQ(scan.status().code(), Code::kResourceExhausted);
}

TEST(TokenizerRegex, LongRepeatsDoNotUseTheStack) {
  const std::string text(400'000, 'a');
  EXPECT_EQ(matches("(?:a|b)+", text).size(), 1u);
  EXPECT_EQ(matches("(?:a{1,3})+", text).size(), 1u);
}

}  // namespace
}  // namespace foregate::tok
