// Writing packed directories: the bytes, every point at which it may stop, and what is not overwritten.
#include "engine/weights/packed_writer.h"

#include "engine/weights/tensor_index.h"
#include "tests/engine/weights/packed_files.h"

namespace foregate {
namespace {

constexpr std::uint64_t kSmallFiles = 20'000;  // bytes: the plan takes five files

TEST(PackedWriter, WhatIsWrittenIsRead) {
  for (const std::uint64_t most : {UINT64_MAX, kSmallFiles}) {
    const PackedIndex plan = small_plan(most);
    EXPECT_EQ(plan.files.size(), most == kSmallFiles ? 5u : 1u);
    const MemoryFiles disk = small_pack(plan);
    EXPECT_FALSE(disk.exists(std::string("m/") + kPackJournalName));
    EXPECT_EQ(disk.contents.at("m/config.json"), "{}");
    const auto index = TensorIndex::open(disk, "m");
    ASSERT_TRUE(index.ok()) << index.status().to_string();
    EXPECT_EQ(index->shards(), plan.files.size());
    for (std::size_t u = 0; u < plan.units.size(); ++u) {
      for (std::size_t t = 0; t < plan.units[u].tensors.size(); ++t) {
        const TensorEntry* entry = index->find(plan.units[u].tensors[t].name);
        ASSERT_NE(entry, nullptr);
        EXPECT_EQ(entry->unit, static_cast<std::int32_t>(u));
        EXPECT_EQ(entry->offset % kPackedTensorAlignment, 0u);
        std::vector<std::byte> bytes(entry->bytes);
        ASSERT_TRUE(index->read(*entry, 0, bytes).ok());
        for (std::size_t i = 0; i < bytes.size(); ++i)
          ASSERT_EQ(bytes[i], packed_byte(u, t, i)) << entry->name << " " << i;
      }
    }
    EXPECT_TRUE(verify_packed(*index->packed(), {}).ok());
  }
}

TEST(PackedWriter, UnitsAreWholePagesAndLieInOneFile) {
  const PackedIndex plan = small_plan(kSmallFiles);
  for (const PackedUnit& unit : plan.units) {
    EXPECT_EQ(unit.offset % kPackedPage, 0u);
    EXPECT_EQ(unit.bytes % kPackedPage, 0u);
    EXPECT_LE(unit.offset + unit.bytes, plan.files[unit.file].bytes);
  }
  for (std::size_t i = 1; i < plan.files.size(); ++i) EXPECT_LE(plan.files[i].bytes, kSmallFiles);
  EXPECT_GT(plan.files[0].bytes, kSmallFiles) << "a unit that is larger has a file of its own";
  PackedIndex many = plan;
  for (int i = 0; i < 100'000; ++i) many.units.push_back(plan.units.back());
  EXPECT_EQ(lay_out(many, 1).code(), Code::kInvalidArgument);
}

// "...; N bytes of weights are not finished, ..."
std::uint64_t bytes_left_in(const std::string& message) {
  return std::stoull(message.substr(message.find("; ") + 2));
}

// Stops at every operation in turn, as a kill or a full disk would, and goes on: at no point does the directory look
// complete before it is, and the bytes are those of an undisturbed run.
TEST(PackedWriter, EveryStopIsTakenUpAgain) {
  const PackedIndex plan = small_plan(kSmallFiles);
  const MemoryFiles whole = small_pack(plan);
  std::uint64_t operations = 0;
  std::size_t most_reused = 0;
  std::uint64_t least_left = UINT64_MAX;
  std::uint64_t most_left = 0;
  for (std::uint64_t stop = 1;; ++stop) {
    MemoryFiles disk;
    MemoryOutput out(disk, "m");
    out.stop_at = stop;
    out.stop_with = resource_exhausted("m/a file: No space left on device");
    out.free_later = 77;
    const Status stopped = small_write(disk, out, plan);
    if (stopped.ok()) break;
    operations = stop;
    EXPECT_EQ(stopped.code(), Code::kResourceExhausted);
    EXPECT_EQ(stopped.message().find("m/a file: No space left on device; "), 0u) << stopped.message();
    EXPECT_NE(stopped.message().find(" has 77 free"), std::string::npos) << stopped.message();
    least_left = std::min(least_left, bytes_left_in(stopped.message()));
    most_left = std::max(most_left, bytes_left_in(stopped.message()));
    const auto opened = TensorIndex::open(disk, "m");
    if (disk.exists(std::string("m/") + kPackedIndexName)) {
      EXPECT_TRUE(opened.ok() && verify_packed(*opened->packed(), {}).ok()) << stop;
    } else {
      EXPECT_FALSE(opened.ok()) << stop;
    }
    MemoryOutput again(disk, "m");
    std::size_t reused = 0;
    const Status status = small_write(disk, again, plan, &reused);
    ASSERT_TRUE(status.ok()) << stop << ": " << status.to_string();
    EXPECT_EQ(disk.contents, whole.contents) << stop;
    most_reused = std::max(most_reused, reused);
  }
  EXPECT_EQ(most_left, plan.data_bytes()) << "all units";
  EXPECT_EQ(least_left, 0u) << "full when the last small file was written";
  EXPECT_GT(operations, 50u);
  EXPECT_EQ(most_reused, plan.units.size());
  std::printf("stopped at each of %d operations, taken up each time\n", static_cast<int>(operations));
}

// A journal that promises more than the disk kept, as after a loss of power.
TEST(PackedWriter, BelievesOnlyWhatHasItsChecksum) {
  const PackedIndex plan = small_plan(kSmallFiles);
  const MemoryFiles whole = small_pack(plan);
  MemoryFiles unfinished;
  MemoryOutput out(unfinished, "m");
  out.stop_at = 36;
  ASSERT_FALSE(small_write(unfinished, out, plan).ok());
  const std::string journal = std::string("m/") + kPackJournalName;
  const std::size_t units = (unfinished.contents.at(journal).size() - 33) / 17;
  ASSERT_GE(units, 4u);
  const std::function<void(MemoryFiles&)> losses[] = {
      [&](MemoryFiles& disk) { disk.contents["m/" + plan.files[0].name][kPackedPage + 99] ^= 1; },
      [&](MemoryFiles& disk) { disk.contents["m/" + plan.files[1].name].resize(kPackedPage + 5); },
      [&](MemoryFiles& disk) { disk.contents.erase("m/" + plan.files[1].name); },
      [&](MemoryFiles& disk) { disk.contents[journal].resize(33 + 17 * 2 + 9); },
      [&](MemoryFiles& disk) { disk.contents[journal].replace(33 + 17, 17, std::string(17, '\0')); },
      [&](MemoryFiles& disk) { disk.contents[journal].resize(20); },
      [&](MemoryFiles& disk) { disk.contents[journal].clear(); },
      [&](MemoryFiles& disk) { disk.contents[journal] += "0000000000000000\nrest"; },
      [&](MemoryFiles& disk) {
        for (int i = 0; i < 99; ++i) disk.contents[journal] += "0123456789abcdef\n";
      },
  };
  for (const auto& loss : losses) {
    MemoryFiles disk = unfinished;
    loss(disk);
    MemoryOutput again(disk, "m");
    std::size_t reused = 99;
    const Status status = small_write(disk, again, plan, &reused);
    ASSERT_TRUE(status.ok()) << &loss - losses << ": " << status.to_string();
    EXPECT_LE(reused, units);
    EXPECT_EQ(disk.contents, whole.contents) << &loss - losses;
  }
}

TEST(PackedWriter, ReadErrorsWhileGoingOnAreNotTakenForDamage) {
  const PackedIndex plan = small_plan(kSmallFiles);
  MemoryFiles disk;
  MemoryOutput out(disk, "m");
  out.stop_at = 36;
  ASSERT_FALSE(small_write(disk, out, plan).ok());
  const auto before = disk.contents;
  disk.fail_read = disk.reads + 3;
  MemoryOutput again(disk, "m");
  EXPECT_EQ(small_write(disk, again, plan).code(), Code::kUnavailable);
  EXPECT_EQ(disk.contents, before) << "nothing was given up";
}

TEST(PackedWriter, LeavesAFinishedDirectoryAlone) {
  const PackedIndex plan = small_plan();
  MemoryFiles disk = small_pack(plan);
  const auto before = disk.contents;
  MemoryOutput out(disk, "m");
  std::size_t there = 0;
  EXPECT_TRUE(small_write(disk, out, plan, &there).ok());
  EXPECT_EQ(there, plan.units.size());
  EXPECT_EQ(out.operations, 0u);
  EXPECT_EQ(disk.contents, before);
}

TEST(PackedWriter, RefusesWhatIsNotItsOwn) {
  const PackedIndex plan = small_plan();
  MemoryFiles other = small_pack(small_plan(UINT64_MAX, 8));
  MemoryFiles unfinished;
  MemoryOutput stopped(unfinished, "m");
  stopped.stop_at = 20;
  ASSERT_FALSE(small_write(unfinished, stopped, small_plan(UINT64_MAX, 8)).ok());
  MemoryFiles foreign;
  foreign.contents["m/notes.txt"] = "mine";
  MemoryFiles torn;  // a journal that says nothing yet does not make the rest ours
  torn.contents = {{"m/notes.txt", "mine"}, {std::string("m/") + kPackJournalName, "foreg"}};
  for (MemoryFiles* disk : {&other, &unfinished, &foreign, &torn}) {
    const auto before = disk->contents;
    MemoryOutput out(*disk, "m");
    const Status status = small_write(*disk, out, plan);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.to_string();
    EXPECT_EQ(status.field(), "OUT");
    EXPECT_EQ(disk->contents, before);
  }
}

TEST(PackedWriter, LooksForRoomFirst) {
  const PackedIndex plan = small_plan();
  MemoryFiles disk;
  MemoryOutput out(disk, "m");
  out.free = plan.data_bytes() - 1;
  const Status status = small_write(disk, out, plan);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_NE(status.message().find(std::to_string(plan.data_bytes())), std::string::npos) << status.message();
  EXPECT_FALSE(disk.exists("m/" + plan.files[0].name));
  out.free = plan.data_bytes();
  EXPECT_TRUE(small_write(disk, out, plan).ok());
  EXPECT_LE(out.largest_write, kPackedPiece);
}

}  // namespace
}  // namespace foregate
