// Stop strings and text assembly: any cut of the same tokens gives the same text and the same end.
#include <gtest/gtest.h>

#include <random>

#include "server/stream/sample_text.h"
#include "server/stream/sse_writer.h"
#include "server/stream/stop_matcher.h"
#include "tests/server/fake_engine.h"

namespace foregate {
namespace {

using test::ByteTokenizer;
using test::kEos;

// The plain meaning: the match that ends first; of those that end together the longest.
std::pair<std::string, std::string> search(const std::string& text, const std::vector<std::string>& stops,
                                           bool include) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::string best;
    for (const std::string& stop : stops) {
      if (stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0 && stop.size() > best.size()) {
        best = stop;
      }
    }
    if (!best.empty()) return {text.substr(0, include ? end : end - best.size()), best};
  }
  return {text, ""};
}

TEST(StopMatcher, EqualsPlainSearchForEveryCut) {
  std::mt19937 random(7);
  const auto word = [&](std::size_t most) {
    std::string text;
    const std::size_t length = 1 + random() % most;
    for (std::size_t i = 0; i < length; ++i) text += static_cast<char>('a' + random() % 2);
    return text;
  };
  int matched = 0, unmatched = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stops;
    for (std::size_t i = 0; i < 1 + random() % 3; ++i) stops.push_back(word(8));
    const std::string text = word(24);
    const bool include = random() % 2 == 0;
    const auto [expected, match] = search(text, stops, include);
    (match.empty() ? unmatched : matched) += 1;
    StopMatcher matcher(stops, include);
    std::string got;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t length = 1 + random() % 5;
      got += matcher.push(std::string_view(text).substr(at, length));
      at += length;
      // What is out must never have to be taken back.
      ASSERT_EQ(expected.compare(0, got.size(), got), 0) << text;
    }
    if (!matcher.matched()) got += matcher.finish();
    ASSERT_EQ(got, expected) << text;
    ASSERT_EQ(matcher.matched(), !match.empty());
    if (matcher.matched()) {
      ASSERT_EQ(matcher.match(), match);
    }
  }
  EXPECT_GT(matched, 100);
  EXPECT_GT(unmatched, 100);
}

TEST(StopMatcher, HoldsBackOnlyWhatCanStillMatch) {
  StopMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.push("abcE"), "abc");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_EQ(matcher.push("x"), "ENx");
  EXPECT_EQ(matcher.push("E"), "");
  EXPECT_EQ(matcher.finish(), "E");
}

TEST(StopMatcher, NothingAfterAMatch) {
  StopMatcher matcher({"x"}, true);
  EXPECT_EQ(matcher.push("axb"), "ax");
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.match(), "x");
}

TokenEvent event_of(const std::string& text) {
  TokenEvent event;
  for (unsigned char c : text) event.tokens.push_back(c);
  return event;
}

struct Whole {
  std::string text;
  std::vector<Token> tokens;
  std::optional<SampleEnd> end;
  std::int32_t completion_tokens = 0;
  bool early = false;
  int ends = 0;
};

// Feeds `text` in pieces of the given sizes, then an engine finish.
Whole run(const std::string& text, SampleOptions options, const std::vector<std::size_t>& sizes,
          FinishReason reason = FinishReason::kLength, Token stop_token = -1) {
  static const ByteTokenizer tokenizer;
  SampleText sample(tokenizer, std::move(options));
  Whole whole;
  const auto take = [&](const SampleDelta& delta) {
    whole.text += delta.text;
    whole.tokens.insert(whole.tokens.end(), delta.tokens.begin(), delta.tokens.end());
    if (delta.end) whole.end = delta.end, ++whole.ends;
  };
  std::size_t at = 0, piece = 0;
  while (at < text.size()) {
    const std::size_t size = sizes[piece++ % sizes.size()];
    take(sample.push(event_of(text.substr(at, size)), {kEos}));
    at += size;
  }
  TokenEvent last;
  last.finish = reason;
  last.stop_token = stop_token;
  take(sample.push(last, {kEos}));
  take(sample.push(last, {kEos}));
  whole.completion_tokens = sample.completion_tokens();
  whole.early = sample.stopped_early();
  return whole;
}

TEST(SampleText, EveryCutGivesTheSameAnswer) {
  std::mt19937 random(11);
  const std::string text = "The fox said: \xC3\xA9\xE2\x82\xAC\xF0\x9F\xA6\x8A and STOP here, STOPPED.";
  for (const char* stop : {"STOP", "\xE2\x82\xAC", "nothing", "here, ST"}) {
    SampleOptions options;
    options.stop = {stop};
    const Whole expected = run(text, options, {text.size()});
    for (int round = 0; round < 200; ++round) {
      std::vector<std::size_t> sizes;
      for (int i = 0; i < 7; ++i) sizes.push_back(1 + random() % 6);
      const Whole got = run(text, options, sizes);
      ASSERT_EQ(got.text, expected.text) << stop;
      ASSERT_EQ(got.tokens, expected.tokens) << stop;
      ASSERT_EQ(got.completion_tokens, expected.completion_tokens);
      ASSERT_EQ(got.end->stop_string, expected.end->stop_string);
      ASSERT_EQ(got.ends, 1);
    }
  }
}

TEST(SampleText, StopStringEndsTheSampleAndSaysSo) {
  SampleOptions options;
  options.stop = {"cd"};
  const Whole whole = run("abcdef", options, {1});
  EXPECT_EQ(whole.text, "ab");
  EXPECT_TRUE(whole.early);
  EXPECT_EQ(whole.end->reason, FinishReason::kStop);
  EXPECT_EQ(whole.end->stop_string, "cd");
  EXPECT_EQ(whole.completion_tokens, 4);
  options.include_stop = true;
  EXPECT_EQ(run("abcdef", options, {3}).text, "abcd");
}

TEST(SampleText, MinTokensHidesEarlyStopStrings) {
  SampleOptions options;
  options.stop = {"b"};
  options.min_tokens = 3;
  EXPECT_EQ(run("abcab", options, {1}).text, "abca");
  options.min_tokens = 0;
  EXPECT_EQ(run("abcab", options, {1}).text, "a");
}

TEST(SampleText, EngineEnds) {
  const Whole eos = run("hi", {}, {2}, FinishReason::kStop, kEos);
  EXPECT_EQ(eos.text, "hi");
  EXPECT_FALSE(eos.end->stop_token);
  EXPECT_EQ(eos.completion_tokens, 3);
  const Whole other = run("hi", {}, {2}, FinishReason::kStop, 'x');
  EXPECT_EQ(other.end->stop_token, 'x');
  EXPECT_EQ(other.text, "hi");
  SampleOptions include;
  include.include_stop = true;
  EXPECT_EQ(run("hi", include, {2}, FinishReason::kStop, 'x').text, "hix");
  const Whole length = run("hi", {}, {2});
  EXPECT_EQ(length.end->reason, FinishReason::kLength);
  EXPECT_TRUE(length.end->error.ok());
}

TEST(SampleText, FailuresCarryAnError) {
  for (FinishReason reason : {FinishReason::kCancelled, FinishReason::kError}) {
    const Whole whole = run("hi", {}, {2}, reason);
    EXPECT_EQ(whole.end->reason, reason);
    EXPECT_FALSE(whole.end->error.ok());
  }
}

TEST(SampleText, HalfACharacterComesOutAsReplacementAtTheEnd) {
  const Whole whole = run("a\xE2\x82", {}, {1});
  EXPECT_EQ(whole.text, "a\xEF\xBF\xBD");
}

TEST(SampleText, LogprobsComeWithTheText) {
  const ByteTokenizer tokenizer;
  SampleOptions options;
  options.stop = {"cd"};
  SampleText sample(tokenizer, options);
  TokenEvent event = event_of("bc");
  event.logprobs = {{{'b', -1.0f}, {}}, {{'c', -2.0f}, {}}};
  const SampleDelta first = sample.push(event, {});
  EXPECT_EQ(first.text, "b");
  EXPECT_EQ(first.logprobs.size(), 2u);
  TokenEvent next = event_of("x");
  next.logprobs = {{{'x', -3.0f}, {}}};
  const SampleDelta second = sample.push(next, {});
  EXPECT_EQ(second.text, "cx");
  ASSERT_EQ(second.logprobs.size(), 1u);
}

TEST(SseWriter, ExactlyOneTerminal) {
  std::string out;
  int ends = 0;
  const auto make = [&] {
    out.clear();
    ends = 0;
    return SseWriter([&](std::string_view bytes) { out += bytes; }, [&] { ++ends; });
  };
  SseWriter done = make();
  done.event("1");
  done.done();
  done.done();
  done.fail("{}");
  done.event("2");
  EXPECT_EQ(out, "data: 1\n\ndata: [DONE]\n\n");
  EXPECT_EQ(ends, 1);
  SseWriter failed = make();
  failed.fail("{}");
  failed.done();
  EXPECT_EQ(out, "data: {}\n\n");
  EXPECT_EQ(ends, 1);
}

}  // namespace
}  // namespace foregate
