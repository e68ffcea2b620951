// Values that travel between folders: statuses, random numbers, the inbox, request bounds, files.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "engine/api/types.h"
#include "engine/base/checksum.h"
#include "engine/base/inbox.h"
#include "engine/base/log.h"
#include "engine/base/metrics.h"
#include "engine/base/rng.h"
#include "engine/base/status.h"
#include "engine/io/file.h"

namespace foregate {
namespace {

TEST(Status, SaysCodeFieldAndMessage) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().to_string(), "ok");
  EXPECT_EQ(invalid_argument("too big", "n").to_string(), "invalid_argument (n): too big");
  EXPECT_EQ(not_found("gone").to_string(), "not_found: gone");
}

Result<int> half(int value) {
  if (value % 2 != 0) return invalid_argument("odd");
  return value / 2;
}
Result<int> quarter(int value) {
  ASSIGN_OR_RETURN(const int first, half(value));
  ASSIGN_OR_RETURN(const int second, half(first));
  return second;
}
Status check_quarter(int value) {
  RETURN_IF_ERROR(quarter(value).status());
  return {};
}

TEST(Result, CarriesValueOrStatus) {
  EXPECT_EQ(*quarter(12), 3);
  EXPECT_EQ(quarter(6).status().message(), "odd");
  EXPECT_TRUE(check_quarter(4).ok());
  EXPECT_FALSE(check_quarter(2).ok());
  EXPECT_DEATH((void)*quarter(1), "CHECK");
  EXPECT_DEATH(Result<int>{Status()}, "CHECK");
}

// Published answers of XXH3-64 with seed 0.
TEST(Checksum, KnownAnswersAndText) {
  EXPECT_EQ(checksum(std::string_view()), 0x2d06800538d394c2u);
  EXPECT_EQ(checksum(std::string_view("a")), 0xe6c632b61e964e1fu);
  EXPECT_EQ(checksum_text(0x2d06800538d394c2u), "2d06800538d394c2");
  EXPECT_EQ(checksum_text(7), "0000000000000007");
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{0xfedcba9876543210}, UINT64_MAX}) {
    EXPECT_EQ(parse_checksum(checksum_text(value)), value);
  }
  for (const char* bad : {"", "123", "0x00000000000000", "00000000000000000", "000000000000000G", "ABCDEF0123456789"}) {
    EXPECT_FALSE(parse_checksum(bad)) << bad;
  }
  const std::uint64_t pair[] = {0x3131313131313131, 0x3232323232323232};
  EXPECT_EQ(checksum_of(pair), checksum("1111111122222222"));
}

TEST(Checksum, InPiecesOfBytesThatComeInOrder) {
  std::vector<std::byte> bytes(1000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  for (const std::size_t piece : {1u, 64u, 300u, 500u, 1000u, 4096u}) {
    std::vector<std::uint64_t> pieces;
    for (std::size_t begin = 0; begin < bytes.size(); begin += piece) {
      pieces.push_back(checksum(std::span(bytes).subspan(begin, std::min(piece, bytes.size() - begin))));
    }
    for (const std::size_t chunk : {1u, 77u, 500u, 1000u}) {
      PiecewiseChecksum sum(piece);
      for (std::size_t begin = 0; begin < bytes.size(); begin += chunk) {
        sum.add(std::span(bytes).subspan(begin, std::min(chunk, bytes.size() - begin)));
      }
      EXPECT_EQ(sum.value(), checksum_of(pieces)) << piece << " " << chunk;
    }
  }
}

// The published known answers of Philox4x32-10 (Random123 kat_vectors).
TEST(Rng, KnownAnswersOfPhilox) {
  using Words = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32(0, 0, 0), (Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox4x32(~0ull, ~0ull, ~0ull), (Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32(0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull),
            (Words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Rng, UniformIsInRangeAndEven) {
  int buckets[10] = {};
  for (std::uint64_t i = 0; i < 100000; ++i) {
    const double x = uniform01(3, 1, i);
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    ++buckets[static_cast<int>(x * 10)];
  }
  for (int count : buckets) EXPECT_NEAR(count, 10000, 500);  // five sigma
}

TEST(Inbox, KeepsOrderAndRefusesWhenFullOrClosed) {
  Inbox<int> inbox(2);
  EXPECT_TRUE(inbox.try_push(1));
  EXPECT_TRUE(inbox.try_push(2));
  EXPECT_FALSE(inbox.try_push(3));
  std::vector<int> got;
  inbox.drain(got);
  EXPECT_EQ(got, (std::vector<int>{1, 2}));
  EXPECT_TRUE(inbox.try_push(4));
  inbox.close();
  EXPECT_FALSE(inbox.try_push(5));
  inbox.drain(got);
  EXPECT_EQ(got.back(), 4) << "what was in before the close is not lost";
  EXPECT_TRUE(inbox.closed());
}

TEST(Inbox, WakesItsReader) {
  Inbox<int> inbox(100000);
  std::vector<int> got;
  std::thread reader([&] {
    while (got.size() < 3000) {
      inbox.wait_for(std::chrono::seconds(60));
      inbox.drain(got);
    }
  });
  std::vector<std::thread> writers;
  for (int w = 0; w < 3; ++w) {
    writers.emplace_back([&, w] {
      for (int i = 0; i < 1000; ++i) ASSERT_TRUE(inbox.try_push(w * 1000 + i));
    });
  }
  for (std::thread& writer : writers) writer.join();
  reader.join();
  std::vector<int> last(3, -1);
  for (int value : got) {
    EXPECT_GT(value % 1000, last[static_cast<std::size_t>(value / 1000)]) << "one writer's items out of order";
    last[static_cast<std::size_t>(value / 1000)] = value % 1000;
  }
  std::thread waker([&] { inbox.wake(); });
  inbox.wait_for(std::chrono::seconds(60));
  waker.join();
}

TEST(Log, UntrustedBytesAreEscapedAndCut) {
  EXPECT_EQ(quoted("a\n\"b\x80"), "\"a\\x0a\\\"b\\x80\"");
  EXPECT_EQ(quoted("abcdef", 3), "\"abc\"...(6 bytes)");
  LogLevel level;
  EXPECT_TRUE(parse_log_level("warning", &level));
  EXPECT_FALSE(parse_log_level("loud", &level));
}

TEST(Metrics, SameNameAndLabelsAreOneSeries) {
  Metrics metrics;
  metrics.counter("foregate_things", "Things.", {{"a", "b"}}).add(2);
  metrics.counter("foregate_things", "Things.", {{"a", "b"}}).add(3);
  metrics.gauge("foregate_level", "Level.").set(1.5);
  metrics.histogram("foregate_time", "Time.", {1, 2}).observe(1.5);
  const std::string text = metrics.prometheus_text();
  EXPECT_NE(text.find("foregate_things_total{a=\"b\"} 5"), std::string::npos) << text;
  EXPECT_NE(text.find("foregate_level 1.5"), std::string::npos);
  EXPECT_NE(text.find("foregate_time_bucket{le=\"2\"} 1"), std::string::npos);
}

Request good_request() {
  Request request;
  request.prompt = {1, 2, 3};
  return request;
}
Limits small_limits() {
  Limits limits;
  limits.vocab_size = 10;
  limits.max_model_len = 20;
  return limits;
}

template <class Change>
std::string refused_field(Change change) {
  Request request = good_request();
  change(request);
  const Status status = validate(request, small_limits());
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  return status.field();
}

TEST(Validate, BoundsOfEveryField) {
  EXPECT_TRUE(validate(good_request(), small_limits()).ok());
  const float inf = std::numeric_limits<float>::infinity();
  for (float bad : {-0.1f, 101.0f, inf, -inf, std::nanf("")}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.temperature = bad; }), "temperature");
  }
  for (float bad : {0.0f, -1.0f, 1.1f, inf, std::nanf("")}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.top_p = bad; }), "top_p");
  }
  for (float bad : {-0.1f, 1.1f, std::nanf("")}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.min_p = bad; }), "min_p");
  }
  for (float bad : {0.0f, -1.0f, 1e-45f, 1e38f, inf, std::nanf("")}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.repetition_penalty = bad; }), "repetition_penalty");
  }
  for (float bad : {-2.1f, 2.1f, inf, std::nanf("")}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.presence_penalty = bad; }), "presence_penalty");
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.frequency_penalty = bad; }), "frequency_penalty");
  }
  constexpr std::int32_t kMin = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t kMax = std::numeric_limits<std::int32_t>::max();
  for (std::int32_t bad : {kMin, -1, 0, 9, 65, kMax}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.n = bad; }), "n");
  }
  for (std::int32_t bad : {kMin, -2}) EXPECT_EQ(refused_field([&](Request& r) { r.sampling.top_k = bad; }), "top_k");
  for (std::int32_t bad : {kMin, -1, 0, 18, kMax}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.max_tokens = bad; }), "max_tokens");
  }
  for (std::int32_t bad : {kMin, -1, 17, kMax}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.min_tokens = bad; }), "min_tokens");
  }
  for (std::int32_t bad : {kMin, -1, 21, kMax}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.logprobs = bad; }), "logprobs");
    EXPECT_EQ(refused_field([&](Request& r) { r.prompt_logprobs = bad; }), "prompt_logprobs");
  }
  for (Token bad : {kMin, -1, 10, kMax}) {
    EXPECT_EQ(refused_field([&](Request& r) { r.prompt[1] = bad; }), "prompt");
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.stop_token_ids = {bad}; }), "stop_token_ids");
    EXPECT_EQ(refused_field([&](Request& r) { r.sampling.logit_bias = {{bad, 1.0f}}; }), "logit_bias");
  }
  EXPECT_EQ(refused_field([&](Request& r) { r.sampling.logit_bias = {{1, 101.0f}}; }), "logit_bias");
  EXPECT_EQ(refused_field([&](Request& r) { r.sampling.logit_bias.assign(1025, {1, 1.0f}); }), "logit_bias");
  EXPECT_EQ(refused_field([&](Request& r) { r.sampling.stop_token_ids.assign(65, 1); }), "stop_token_ids");
  Request edge = good_request();
  edge.sampling.max_tokens = 17;
  EXPECT_TRUE(validate(edge, small_limits()).ok());
}

TEST(Files, ReadsWithinBoundsOnly) {
  const std::string path = ::testing::TempDir() + "/foregate_base_test.txt";
  std::ofstream(path) << "hello world";
  const FileSystem& files = local_files();
  EXPECT_EQ(*read_text(files, path, 100), "hello world");
  EXPECT_EQ(read_text(files, path, 5).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(read_text(files, path + ".none", 5).status().code(), Code::kNotFound);
  EXPECT_EQ(read_text(files, ::testing::TempDir(), 5).status().code(), Code::kInvalidArgument);
  auto file = files.open(path);
  ASSERT_TRUE(file.ok());
  std::vector<std::byte> bytes(5);
  EXPECT_TRUE((*file)->read(6, bytes).ok());
  EXPECT_EQ(static_cast<char>(bytes[0]), 'w');
  EXPECT_EQ((*file)->read(7, bytes).code(), Code::kDataLoss);
  EXPECT_EQ((*file)->read(std::numeric_limits<std::uint64_t>::max(), bytes).code(), Code::kDataLoss);
  std::filesystem::resize_file(path, 3);
  EXPECT_EQ((*file)->read(0, bytes).code(), Code::kDataLoss) << "a file that shrinks is damage, not a short read";
  EXPECT_TRUE(files.exists(path));
  std::remove(path.c_str());
  EXPECT_FALSE(files.exists(path));
}

}  // namespace
}  // namespace foregate
