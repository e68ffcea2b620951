// Packed directories that are damaged, cut, mixed up or of another kind: each is refused before anything is allocated
// for its data, with the file and the part in the message.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/base/checksum.h"
#include "engine/weights/tensor_index.h"
#include "tests/engine/weights/packed_files.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

const std::string kIndex = std::string("m/") + kPackedIndexName;

// The index after `edit`, with a checksum of its own that holds.
std::string edited(const std::string& text, const std::function<void(Json&)>& edit) {
  Json json = Json::parse(text);
  json.erase("index_xxh3");
  edit(json);
  std::string changed = json.dump();
  changed.back() = ',';
  return changed + "\"index_xxh3\":\"" + checksum_text(checksum(changed)) + "\"}";
}

Status open(const MemoryFiles& disk) {
  auto index = TensorIndex::open(disk, "m");
  return index.ok() ? Status() : index.status();
}

TEST(BadPacked, AnEditThatChangesNothingIsTaken) {
  MemoryFiles disk = small_pack(small_plan());
  disk.contents[kIndex] = edited(disk.contents[kIndex], [](Json&) {});
  EXPECT_TRUE(open(disk).ok()) << open(disk).to_string();
}

TEST(BadPacked, AnotherVersionOrLayoutIsRefusedByName) {
  const MemoryFiles good = small_pack(small_plan());
  const std::pair<const char*, Json> edits[] = {{"version", 2}, {"layout", "interleave32"}, {"checksum", "crc32c"}};
  for (const auto& [key, value] : edits) {
    MemoryFiles disk = good;
    disk.contents[kIndex] = edited(good.contents.at(kIndex), [&, k = key](Json& json) { json[k] = value; });
    const Status status = open(disk);
    EXPECT_EQ(status.code(), Code::kUnimplemented) << status.to_string();
    EXPECT_EQ(status.field(), key);
    const std::string named = value.is_string() ? value.get<std::string>() : value.dump();
    EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
  }
}

TEST(BadPacked, WrongFieldsAreNamed) {
  const MemoryFiles good = small_pack(small_plan());
  struct Case {
    const char* says;
    std::function<void(Json&)> edit;
  };
  const Case cases[] = {
      {"format is", [](Json& j) { j["format"] = "pt"; }},
      {"format is missing", [](Json& j) { j.erase("format"); }},
      {"version is not a number", [](Json& j) { j["version"] = "1"; }},
      {"quantization is missing", [](Json& j) { j.erase("quantization"); }},
      {"source is not sixteen", [](Json& j) { j["source"] = "0x12"; }},
      {"files is not a list", [](Json& j) { j["files"] = Json::array(); }},
      {"files is missing", [](Json& j) { j.erase("files"); }},
      {"units is not a list", [](Json& j) { j["units"] = 3; }},
      {"not the name of a .fgw file", [](Json& j) { j["files"][0]["name"] = "../model.fgw"; }},
      {"not the name of a .fgw file", [](Json& j) { j["files"][0]["name"] = "model.bin"; }},
      {"is missing", [](Json& j) { j["files"][0]["name"] = "other.fgw"; }},
      {"unit 1: kind \"rotor\"", [](Json& j) { j["units"][1]["kind"] = "rotor"; }},
      {"unit 1: layer is missing", [](Json& j) { j["units"][1].erase("layer"); }},
      {"unit 2: expert is not a number", [](Json& j) { j["units"][2]["expert"] = -1; }},
      {"unit 2: expert is not a number", [](Json& j) { j["units"][2]["expert"] = 65536; }},
      {"unit 3: expert 0 of layer 0 is given twice", [](Json& j) { j["units"][3]["expert"] = 0; }},
      {"unit 2: xxh3 is not sixteen", [](Json& j) { j["units"][2]["xxh3"] = "12"; }},
      {"bytes is not a multiple", [](Json& j) { j["units"][2]["bytes"] = 1; }},
      {"bytes is not a multiple", [](Json& j) { j["units"][2]["bytes"] = 0; }},
      {"does not follow", [](Json& j) { j["units"][2]["bytes"] = UINT64_MAX / 4096 * 4096; }},
      {"does not follow", [](Json& j) { j["units"][2]["offset"] = j["units"][1]["offset"]; }},
      {"does not follow", [](Json& j) { j["units"][2]["file"] = 1; }},
      {"does not follow", [](Json& j) { std::swap(j["units"][2], j["units"][3]); }},
      {"do not fill the files", [](Json& j) { j["units"].erase(j["units"].size() - 1); }},
      {"checksums of the units do not agree", [](Json& j) { j["units"][2]["xxh3"] = "0000000000000000"; }},
      {"tensors is missing", [](Json& j) { j["units"][2].erase("tensors"); }},
      {"tensor 1: format \"q9_9\"", [](Json& j) { j["units"][2]["tensors"][1]["format"] = "q9_9"; }},
      {"tensor 1: its bytes", [](Json& j) { j["units"][2]["tensors"][1]["format"] = "q8_0"; }},
      {"tensor 1: shape holds", [](Json& j) { j["units"][2]["tensors"][1]["shape"][0] = 0; }},
      {"tensor 1: shape holds", [](Json& j) { j["units"][2]["tensors"][1]["shape"][0] = UINT64_MAX; }},
      {"tensor 1: its bytes",
       [](Json& j) {
         j["units"][2]["tensors"][1]["shape"] = {1ull << 40, 1ull << 40};
       }},
      {"tensor 1: its bytes", [](Json& j) { j["units"][2]["tensors"][1]["shape"][1] = 48; }},
      {"tensor 1: shape has more", [](Json& j) { j["units"][2]["tensors"][1]["shape"].push_back(1); }},
      {"tensor 1: it does not lie", [](Json& j) { j["units"][2]["tensors"][1]["offset"] = 0; }},
      {"tensor 1: it does not lie", [](Json& j) { j["units"][2]["tensors"][1]["offset"] = 1153; }},
      {"tensor 1: it does not lie", [](Json& j) { j["units"][2]["tensors"][1]["offset"] = 1ull << 63; }},
      {"tensor 1: its name is empty", [](Json& j) { j["units"][2]["tensors"][1]["name"] = ""; }},
      {"is both in", [](Json& j) { j["units"][2]["tensors"][1]["name"] = "final"; }},
      {"is not an object", [](Json& j) { j["units"][2] = 5; }},
      {"is not an object", [](Json& j) { j["units"][2]["tensors"][0] = "gate"; }},
  };
  for (const Case& wrong : cases) {
    MemoryFiles disk = good;
    disk.contents[kIndex] = edited(good.contents.at(kIndex), wrong.edit);
    disk.largest_read = {};
    const Status status = open(disk);
    EXPECT_EQ(status.code(), Code::kDataLoss) << wrong.says << ": " << status.to_string();
    EXPECT_NE(status.message().find(wrong.says), std::string::npos) << wrong.says << ": " << status.to_string();
    EXPECT_LE(disk.largest_read, std::max<std::uint64_t>(kPackedPage, disk.contents[kIndex].size()));
  }
}

TEST(BadPacked, EveryBitOfTheIndexIsGuarded) {
  const MemoryFiles good = small_pack(small_plan());
  const std::string text = good.contents.at(kIndex);
  const std::size_t guarded = text.rfind("\"}") + 2;  // behind it, one newline
  int refused = 0;
  for (std::size_t at = 0; at < guarded; ++at) {
    for (const int bit : {0, 3, 7}) {
      MemoryFiles disk = good;
      disk.contents[kIndex][at] ^= static_cast<char>(1 << bit);
      ASSERT_FALSE(open(disk).ok()) << "byte " << at << " bit " << bit;
      ++refused;
    }
    if (at % 7 != 0) continue;
    MemoryFiles disk = good;
    disk.contents[kIndex].resize(at);
    ASSERT_FALSE(open(disk).ok()) << "cut at " << at;
  }
  std::printf("bits of an index flipped: %d refused\n", refused);
}

TEST(BadPacked, EveryByteOfAHeaderPageIsGuarded) {
  const PackedIndex plan = small_plan();
  const MemoryFiles good = small_pack(plan);
  for (std::size_t at = 0; at < kPackedPage; ++at) {
    MemoryFiles disk = good;
    disk.contents["m/" + plan.files[0].name][at] ^= 4;
    const Status status = open(disk);
    ASSERT_TRUE(status.code() == Code::kDataLoss || status.code() == Code::kUnimplemented) << at;
    ASSERT_NE(status.message().find(plan.files[0].name), std::string::npos) << status.message();
  }
}

TEST(BadPacked, EveryByteOfAUnitIsGuarded) {
  const PackedIndex plan = small_plan();
  const MemoryFiles good = small_pack(plan);
  const std::string name = "m/" + plan.files[0].name;
  const auto index = TensorIndex::open(good, "m");
  ASSERT_TRUE(index.ok());
  const PackedUnit& expert = index->packed()->index().units[3];
  for (std::uint64_t at = expert.offset; at < expert.offset + expert.bytes; at += 101) {
    MemoryFiles disk = good;
    disk.contents[name][at] ^= 16;
    auto damaged = PackedModel::open(disk, "m");
    ASSERT_TRUE(damaged.ok()) << "headers say nothing of it";
    std::vector<Status> each;
    const Status status = verify_packed(*damaged, {}, &each);
    ASSERT_EQ(status.code(), Code::kDataLoss);
    EXPECT_EQ(status.field(), "expert 1 of layer 0");
    EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
    for (std::size_t u = 0; u < each.size(); ++u) EXPECT_EQ(each[u].ok(), u != 3);
  }
}

TEST(BadPacked, FilesOfAnotherPackOrPlaceAreRefused) {
  const PackedIndex plan = small_plan(40'000);
  ASSERT_GE(plan.files.size(), 3u);
  const MemoryFiles good = small_pack(plan);
  const auto path = [&plan](std::size_t i) { return "m/" + plan.files[i].name; };
  PackedIndex other_plan = plan;
  other_plan.units[1].tensors.swap(other_plan.units[1].tensors);
  const std::function<void(MemoryFiles&)> mixes[] = {
      [&](MemoryFiles& disk) { disk.contents.erase(path(1)); },
      [&](MemoryFiles& disk) { disk.contents[path(1)] += '\0'; },
      [&](MemoryFiles& disk) { disk.contents[path(1)].pop_back(); },
      [&](MemoryFiles& disk) { disk.contents[path(1)].clear(); },
      [&](MemoryFiles& disk) { std::swap(disk.contents[path(1)], disk.contents[path(2)]); },
      [&](MemoryFiles& disk) {  // a data file of the same shape with other weights, header and all
        MemoryFiles other;
        MemoryOutput out(other, "m");
        auto writer = PackedWriter::open(out, other, plan, {});
        ASSERT_TRUE(writer.ok());
        for (std::size_t u = 0; u < plan.units.size(); ++u) ASSERT_TRUE(writer->end_unit().ok());
        disk.contents[path(1)] = other.contents[path(1)];
      },
  };
  for (const auto& mix : mixes) {
    MemoryFiles disk = good;
    mix(disk);
    const Status status = open(disk);
    EXPECT_EQ(status.code(), Code::kDataLoss) << &mix - mixes;
    EXPECT_NE(status.message().find(".fgw"), std::string::npos) << status.message();
  }
}

TEST(BadPacked, UnfinishedAndAmbiguousDirectoriesAreRefused) {
  MemoryFiles disk;
  MemoryOutput out(disk, "m");
  out.stop_at = 30;
  ASSERT_FALSE(small_write(disk, out, small_plan()).ok());
  EXPECT_EQ(open(disk).code(), Code::kDataLoss);
  EXPECT_NE(open(disk).message().find("unfinished"), std::string::npos);
  MemoryFiles both = small_pack(small_plan());
  both.contents["m/model.safetensors"] = "x";
  EXPECT_EQ(open(both).code(), Code::kInvalidArgument);
}

// Every read of a load may fail; the fault that is reported is a fault of that read.
TEST(BadPacked, EveryReadMayFail) {
  const PackedIndex plan = small_plan(40'000);
  MemoryFiles disk = small_pack(plan);
  auto model = PackedModel::open(disk, "m");
  ASSERT_TRUE(model.ok());
  const std::uint64_t before = disk.reads;
  ASSERT_TRUE(verify_packed(*model, {}).ok());
  const std::uint64_t reads = disk.reads - before;
  ASSERT_GT(reads, plan.units.size());
  for (std::uint64_t n = 1; n <= reads; ++n) {
    disk.fail_read = disk.reads + n;
    const Status status = verify_packed(*model, {});
    EXPECT_EQ(status.code(), Code::kUnavailable) << n;
    EXPECT_NE(status.message().find(".fgw"), std::string::npos);
  }
}

TEST(PackedReader, ProgressEndsAtTheTotalAndChecksCanBeLeftOut) {
  const PackedIndex plan = small_plan();
  MemoryFiles disk = small_pack(plan);
  auto model = PackedModel::open(disk, "m");
  ASSERT_TRUE(model.ok());
  std::uint64_t last = 0;
  EXPECT_TRUE(verify_packed(*model, [&](std::uint64_t done, std::uint64_t total) {
                EXPECT_GT(done, last);
                EXPECT_EQ(total, plan.data_bytes());
                last = done;
              }).ok());
  EXPECT_EQ(last, plan.data_bytes());
  disk.contents["m/" + plan.files[0].name].back() ^= 1;
  std::vector<UnitRead> reads;
  for (const PackedUnit& unit : model->index().units) reads.push_back({&model->file(unit), &unit, nullptr});
  EXPECT_FALSE(read_units(reads, {.requests = 1}, {}).ok());
  EXPECT_TRUE(read_units(reads, {.requests = 9, .verify = false}, {}).ok());
  EXPECT_TRUE(read_units({}, {}, {}).ok());
}

}  // namespace
}  // namespace foregate
