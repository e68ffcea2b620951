// The fuzz target over its committed seeds and thousands of seeded mutations of them.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "tests/fuzz/gguf_fuzz.h"

namespace {

std::vector<std::string> seeds() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(FOREGATE_SOURCE_DIR "/tests/fuzz/corpus/gguf")) {
    std::ifstream in(entry.path(), std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    files.push_back(text.str());
  }
  return files;
}

void run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

TEST(GgufFuzz, EverySeedIsGood) {
  const auto files = seeds();
  ASSERT_EQ(files.size(), 5u);
  const GgufFuzzCounts before = gguf_fuzz_counts();
  for (const std::string& bytes : files) run(bytes);
  const GgufFuzzCounts& after = gguf_fuzz_counts();
  EXPECT_EQ(after.headers - before.headers, 5);
  EXPECT_EQ(after.models - before.models, 5);
  EXPECT_EQ(after.plans - before.plans, 5);
  EXPECT_EQ(after.tokenizers - before.tokenizers, 5);
}

// Numbers and texts that decide something, at random places of the part that is not weights.
std::string mutated(const std::string& good, const std::vector<std::string>& files, std::mt19937& random) {
  static const std::string words[] = {"olmoe",  "llama",   "qwen2",  "gpt2",     "default",
                                      "tekken", ".weight", "[PAD3]", "\xff\xfe", "a b"};
  std::string bytes = good;
  const std::size_t header = std::min<std::size_t>(bytes.size(), 3000);
  for (unsigned e = 0; e <= random() % 4; ++e) {
    const std::size_t at = random() % header;
    std::uint64_t number = std::uint64_t{1} << (random() % 64);
    number -= random() % 2;
    switch (random() % 6) {
      case 0: std::memcpy(bytes.data() + at, &number, std::min<std::size_t>(8, bytes.size() - at)); break;
      case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8))); break;
      case 2: bytes[at] = static_cast<char>(random() % 16); break;
      case 3: bytes.replace(at, words[random() % std::size(words)].size(), words[random() % std::size(words)]); break;
      case 4: bytes.erase(at, 1 + random() % 9); break;
      default: bytes.insert(at, files[random() % files.size()].substr(random() % header, 1 + random() % 60)); break;
    }
    if (bytes.size() < header) bytes.resize(header, '\0');
  }
  return bytes;
}

TEST(GgufFuzz, MutationsEndWell) {
  const auto files = seeds();
  std::mt19937 random(11);
  const GgufFuzzCounts before = gguf_fuzz_counts();
  for (int i = 0; i < 20'000; ++i) run(mutated(files[random() % files.size()], files, random));
  const GgufFuzzCounts& after = gguf_fuzz_counts();
  // Each stage is reached and left by many.
  EXPECT_GT(after.headers - before.headers, 1'000);
  EXPECT_GT(after.models - before.models, 300);
  EXPECT_GT(after.plans - before.plans, 200);
  EXPECT_GT(after.tokenizers - before.tokenizers, 500);
  EXPECT_LT(after.models - before.models, after.headers - before.headers);
  std::printf("mutations: %ld headers, %ld models, %ld plans, %ld tokenizers of %ld\n", after.headers - before.headers,
              after.models - before.models, after.plans - before.plans, after.tokenizers - before.tokenizers,
              after.runs - before.runs);
}

}  // namespace
