// Reading ahead gives the pieces that reading in turn gives, in the order of the plan, holds no more than it says, and
// reports a failed read where its piece would come.
#include "engine/model/piece_reader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>

#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

constexpr std::int64_t kCols = 65536;
constexpr std::int64_t kRows = 200;  // of f32: 50 MB, four pieces

// Word i of the file's data is i. Counts the bytes that were asked for; reads from `bad` on fail.
class WordsFile final : public File {
 public:
  explicit WordsFile(std::uint64_t words) {
    const std::string end = std::to_string(4 * words);
    const std::string half = std::to_string(2 * words);
    header_ = R"({"a":{"dtype":"F32","shape":[)" + std::to_string(words / 2 / kCols) + "," + std::to_string(kCols) +
              R"(],"data_offsets":[0,)" + half + R"(]},"b":{"dtype":"F32","shape":[)" +
              std::to_string(words / 2 / kCols) + "," + std::to_string(kCols) + R"(],"data_offsets":[)" + half + "," +
              end + "]}}";
    header_.resize((header_.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = header_.size();
    header_.insert(0, reinterpret_cast<const char*>(&length), 8);
    size_ = header_.size() + 4 * words;
  }
  std::uint64_t size() const override { return size_; }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset + out.size() <= header_.size()) {
      std::memcpy(out.data(), header_.data() + offset, out.size());
      return {};
    }
    asked += static_cast<std::int64_t>(out.size());
    const std::uint64_t first = (offset - header_.size()) / 4;
    if (first >= bad) return unavailable("disk on fire");
    for (std::uint64_t i = 0; i < out.size() / 4; ++i) {
      const auto word = static_cast<std::uint32_t>(first + i);
      std::memcpy(out.data() + 4 * i, &word, 4);
    }
    return {};
  }

  mutable std::atomic<std::int64_t> asked{0};
  std::uint64_t bad = ~std::uint64_t{0};

 private:
  std::string path_ = "m/model.safetensors";
  std::string header_;
  std::uint64_t size_ = 0;
};

class Words final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string&) const override {
    auto made = std::make_unique<WordsFile>(2 * kRows * kCols);
    file = made.get();
    return std::unique_ptr<File>(std::move(made));
  }
  bool exists(const std::string& path) const override { return path == "m/model.safetensors"; }
  Result<std::vector<std::string>> list(const std::string&) const override { return std::vector<std::string>{}; }
  mutable WordsFile* file = nullptr;
};

TEST(PieceRing, GivesPlacesThatDoNotMeet) {
  PieceRing ring;
  EXPECT_FALSE(ring.fits(4096));
  ASSERT_TRUE(ring.grow(10 * 4096));
  std::byte* const first = ring.take(6 * 4096);
  EXPECT_FALSE(ring.fits(5 * 4096));
  EXPECT_EQ(ring.take(3 * 4096), first + 6 * 4096);
  EXPECT_FALSE(ring.fits(2 * 4096));
  ring.give_back();
  EXPECT_FALSE(ring.fits(7 * 4096));
  EXPECT_EQ(ring.take(6 * 4096), first);  // round the end, up to what is taken still
  EXPECT_FALSE(ring.fits(4096));
  ring.give_back();
  EXPECT_EQ(ring.take(4 * 4096), first + 6 * 4096);
  EXPECT_FALSE(ring.fits(1));
  ring.give_back();
  ring.give_back();
  EXPECT_TRUE(ring.empty());
  EXPECT_TRUE(ring.fits(10 * 4096));
  EXPECT_FALSE(ring.fits(10 * 4096 + 1));
}

class PieceReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto index = TensorIndex::open(files_, "m");
    ASSERT_TRUE(index.ok()) << index.status().to_string();
    index_ = std::move(index).value();
    for (const char* name : {"b", "a"}) {
      WeightItem item;
      item.name = name;
      item.entry = index_.find(name);
      ASSERT_NE(item.entry, nullptr);
      item.rows = kRows;
      item.cols = kCols;
      items_.push_back(item);
    }
    for (const WeightItem& item : items_) order_.push_back(&item);
  }

  // Reads to the end of the plan and compares every byte; gives the number of pieces.
  static int drain(PieceReader& reader, const std::vector<const WeightItem*>& order) {
    int pieces = 0;
    for (const WeightItem* item : order) {
      for (std::int64_t row = 0; row < item->rows; ++pieces) {
        auto piece = reader.next();
        EXPECT_TRUE(piece.ok());
        EXPECT_EQ((*piece)->item, item);
        EXPECT_EQ((*piece)->row, row);
        auto word = static_cast<std::uint32_t>((item->name == "b" ? kRows * kCols : 0) + row * kCols);
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < (*piece)->size / 4; ++i, ++word) {
          wrong += std::memcmp((*piece)->bytes + 4 * i, &word, 4) != 0;
        }
        EXPECT_EQ(wrong, 0);
        row += (*piece)->rows;
      }
    }
    return pieces;
  }

  Words files_;
  TensorIndex index_;
  std::vector<WeightItem> items_;
  std::vector<const WeightItem*> order_;
};

TEST_F(PieceReaderTest, GivesTheSamePiecesWithAnyThreads) {
  for (const int threads : {0, 1, 2, 5}) {
    PieceReader reader(index_, threads);
    reader.begin(order_);
    EXPECT_EQ(drain(reader, order_), 8) << threads;
    EXPECT_EQ(reader.pieces(), 8);
    if (threads == 0) {
      EXPECT_EQ(reader.ready(), 0);
    }
  }
}

TEST_F(PieceReaderTest, ReadsTheNextPieceWhileOneIsHeldAndNoMore) {
  PieceReader reader(index_);
  reader.begin(order_);
  ASSERT_TRUE(reader.next().ok());
  const auto read_two = [&] { return files_.file->asked.load() >= kAheadBytes; };
  for (int i = 0; i < 5000 && !read_two(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(read_two());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(files_.file->asked.load(), kAheadBytes);
}

TEST_F(PieceReaderTest, AnotherPlanDropsWhatWasLeft) {
  PieceReader reader(index_);
  const std::vector<const WeightItem*> last = {order_[1]};
  for (int taken = 0; taken < 3; ++taken) {
    reader.begin(order_);
    for (int i = 0; i < taken; ++i) ASSERT_TRUE(reader.next().ok());
    reader.begin(last);
    EXPECT_EQ(drain(reader, last), 4);
  }
}

TEST_F(PieceReaderTest, AFailureComesInItsTurn) {
  files_.file->bad = (kRows + 64) * kCols;  // the second piece of "b", which is read first
  for (const int threads : {0, 3}) {
    PieceReader reader(index_, threads);
    reader.begin(order_);
    EXPECT_TRUE(reader.next().ok());
    auto piece = reader.next();
    ASSERT_FALSE(piece.ok());
    EXPECT_EQ(piece.status().code(), Code::kUnavailable);
    EXPECT_NE(piece.status().message().find("\"b\""), std::string::npos) << piece.status().message();
    reader.begin({order_[1]});
    EXPECT_TRUE(reader.next().ok());
  }
}

}  // namespace
}  // namespace foregate
