// Every fuzz target over its committed seeds and thousands of seeded mutations of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "engine/base/log.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

struct Seed {
  std::string name, bytes;
};

// In the order of their names, so that mutations are the same on every machine.
std::vector<Seed> seeds(const std::string& target) {
  std::vector<Seed> files;
  for (const auto& entry : std::filesystem::directory_iterator(FOREGATE_SOURCE_DIR "/tests/fuzz/corpus/" + target)) {
    std::ifstream in(entry.path(), std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    files.push_back({entry.path().filename().string(), text.str()});
  }
  std::sort(files.begin(), files.end(), [](const Seed& a, const Seed& b) { return a.name < b.name; });
  return files;
}

// Numbers and texts that decide something, at random places.
std::string mutated(const FuzzTarget& target, const std::vector<Seed>& files, std::mt19937& random) {
  static const std::string kWords[] = {"olmoe",
                                       "gpt2",
                                       ".weight",
                                       "\xff\xfe",
                                       "a b",
                                       "{",
                                       "}",
                                       "[",
                                       "]",
                                       "\"",
                                       "\\",
                                       "\r\n",
                                       "\n",
                                       "0",
                                       "-1",
                                       "1e999",
                                       "null",
                                       "true",
                                       "{{",
                                       "%}",
                                       "(",
                                       ")*",
                                       "{2,9}",
                                       "|",
                                       "::=",
                                       "$ref",
                                       ":",
                                       "chunked",
                                       "Content-Length: 3\r\n",
                                       "99999999999999999999",
                                       "\xC3\xA9",
                                       "\\ud800"};
  std::string bytes = files[random() % files.size()].bytes;
  const std::size_t reach = target.header == 0 ? bytes.size() : std::min(bytes.size(), target.header);
  for (unsigned e = 0; e <= random() % 4 && !bytes.empty(); ++e) {
    const std::size_t at = random() % std::max<std::size_t>(1, std::min(reach, bytes.size()));
    const std::string& word = kWords[random() % std::size(kWords)];
    const std::string& other = files[random() % files.size()].bytes;
    std::uint64_t number = std::uint64_t{1} << (random() % 64);
    number -= random() % 2;
    switch (random() % 7) {
      case 0: std::memcpy(bytes.data() + at, &number, std::min<std::size_t>(8, bytes.size() - at)); break;
      case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8))); break;
      case 2: bytes[at] = static_cast<char>(random() % 16); break;
      case 3: bytes.replace(at, word.size(), word); break;
      case 4: bytes.insert(at, word); break;
      case 5: bytes.erase(at, 1 + random() % 9); break;
      default:
        if (!other.empty()) bytes.insert(at, other.substr(random() % other.size(), 1 + random() % 60));
    }
  }
  return bytes;
}

class Fuzz : public testing::TestWithParam<FuzzTarget> {
 public:
  void SetUp() override { foregate::set_log_level(foregate::LogLevel::kError); }
};

// What libFuzzer found is kept as found-...; everything else gets through every stage.
TEST_P(Fuzz, EverySeedIsGood) {
  const auto files = seeds(GetParam().name);
  int good = 0;
  for (const Seed& seed : files) {
    const int stage = GetParam().run(seed.bytes);
    if (seed.name.rfind("found-", 0) == 0) continue;
    EXPECT_EQ(stage, GetParam().stages) << GetParam().name << "/" << seed.name;
    ++good;
  }
  EXPECT_GE(good, 4);
}

TEST_P(Fuzz, MutationsEndWell) {
  const auto files = seeds(GetParam().name);
  std::mt19937 random(11);
  std::vector<int> reached(static_cast<std::size_t>(GetParam().stages) + 1);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  int runs = 0;
  for (; std::chrono::steady_clock::now() < until; ++runs) {
    ++reached[static_cast<std::size_t>(GetParam().run(mutated(GetParam(), files, random)))];
  }
  // Each stage is reached, and left, by some.
  std::printf("%s: %d runs, by stage", GetParam().name, runs);
  for (std::size_t stage = 0; stage < reached.size(); ++stage) {
    std::printf(" %d", reached[stage]);
    const bool seldom = stage > 0 && stage + 1 < reached.size();
    EXPECT_GT(reached[stage], seldom ? 0 : runs / 200) << "stage " << stage;
  }
  std::printf("\n");
}

// What libFuzzer kept (tests/fuzz/README.md): a length of four bytes, the lowest first, then so many bytes.
TEST_P(Fuzz, KeptInputsEndWell) {
  std::ifstream in(FOREGATE_SOURCE_DIR "/tests/fuzz/kept/" + std::string(GetParam().name), std::ios::binary);
  if (!in) GTEST_SKIP() << "nothing is kept yet";
  std::stringstream text;
  text << in.rdbuf();
  const std::string packed = text.str();
  std::vector<int> reached(static_cast<std::size_t>(GetParam().stages) + 1);
  int runs = 0;
  for (std::size_t at = 0; at < packed.size(); ++runs) {
    ASSERT_LE(at + 4, packed.size());
    std::size_t size = 0;
    for (int i = 3; i >= 0; --i)
      size = size << 8 | static_cast<unsigned char>(packed[at + static_cast<std::size_t>(i)]);
    ASSERT_LE(size, packed.size() - at - 4);
    ++reached[static_cast<std::size_t>(GetParam().run(std::string_view(packed).substr(at + 4, size)))];
    at += 4 + size;
  }
  EXPECT_GT(runs, 100) << GetParam().name;
  EXPECT_GT(reached.back(), 0) << GetParam().name;
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, testing::ValuesIn(fuzz_targets()),
                         [](const auto& target) { return std::string(target.param.name); });

}  // namespace
