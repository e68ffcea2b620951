// Packed models: the same weights and tokens as the original, whatever the format, and what may go wrong on the way.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/model/summary.h"
#include "engine/weights/packed_index.h"
#include "tests/engine/model/packing.h"

namespace foregate {
namespace {

namespace fs = std::filesystem;
using namespace packing;

// Every architecture, tied and untied, fused and sharded, in every quantization.
TEST(PackedModelTest, LoadsTheWeightsOfTheOriginal) {
  std::vector<std::string> models = {demo_dir()};
  for (const std::string& name : golden_names()) models.push_back(golden_dir(name));
  int compared = 0;
  for (const std::string& dir : models) {
    for (const char* quantization : kQuantizations) {
      SCOPED_TRACE(dir + " " + quantization);
      const MemoryFiles disk = packed(dir, pack_options(quantization, 60'000));
      Loaded original = load(local_files(), dir, load_options(quantization));
      Loaded copy = load(disk, "m", load_options());
      ASSERT_TRUE(original.model.ok() && copy.model.ok()) << copy.model.status().to_string();
      const Comparison comparison((*original.model)->config(), (*original.model)->weights(), (*copy.model)->weights());
      EXPECT_GT(comparison.compared(), 20);
      compared += comparison.compared();
      EXPECT_EQ((*copy.model)->weights().how_loaded.find("packed interleave16"), 0u);
      EXPECT_TRUE(load(disk, "m", load_options(quantization)).model.ok()) << "its own quantization may be named";
    }
  }
  std::printf("weights compared byte by byte: %d\n", compared);
}

class PackedDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    base_ = fs::path(::testing::TempDir()) / ("foregate_packed_" + std::to_string(::getpid()));
    fs::remove_all(base_);
  }
  void TearDown() override { fs::remove_all(base_); }

  std::string pack_to(const std::string& name, const std::string& model, const char* quantization) {
    const std::string dir = (base_ / name).string();
    auto out = open_output_directory(dir);
    EXPECT_TRUE(out.ok());
    const auto report = pack(model, pack_options(quantization), local_files(), **out);
    EXPECT_TRUE(report.ok()) << report.status().to_string();
    return dir;
  }

  fs::path base_;
};

TEST_F(PackedDirectory, GivesTheLogitsOfTheOriginal) {
  const std::vector<Token> tokens = {10, 200, 3000, 41, 5, 600, 7, 1234, 900, 77, 1, 402};
  for (const char* quantization : kQuantizations) {
    const std::string dir = pack_to(quantization, demo_dir(), quantization);
    for (const std::string& isa : runnable_isas()) {
      if (isa == "ref") continue;
      Driver original(demo_dir(), {.isa = isa, .quantization = quantization});
      Driver copy(dir, {.isa = isa});
      EXPECT_EQ(original.run(tokens, 5), copy.run(tokens, 5)) << quantization << " " << isa;
    }
  }
}

// The bytes do not depend on the instruction set or the threads that packed them.
TEST(PackedModelTest, IsTheSameByEveryTable) {
  const auto plan = plan_pack(local_files(), demo_dir(), pack_options("q4_0"));
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  std::map<std::string, std::string> first;
  for (const std::string& isa : runnable_isas()) {
    std::string error;
    const Backend made = make_backend({.isa = isa, .threads = isa == "generic" ? 1 : 3}, &error);
    const auto stream = made.device->create_stream();
    MemoryFiles disk;
    MemoryOutput out(disk, "m");
    ASSERT_TRUE(run_pack(plan.value(), disk, out, made.ops, *stream, {}).ok()) << isa;
    if (first.empty()) first = disk.contents;
    EXPECT_EQ(disk.contents, first) << isa;
  }
}

TEST(PackedModelTest, KeepsExpertsWholeAndLayersTogether) {
  const auto plan = plan_pack(local_files(), golden_dir("qwen2-moe-shared-top4"), pack_options("none"));
  ASSERT_TRUE(plan.ok());
  const std::vector<PackedUnit>& units = plan.value().index.units;
  EXPECT_EQ(units.front().kind, PackedKind::kEmbedding);
  EXPECT_EQ(units.back().kind, PackedKind::kHead);
  std::size_t experts = 0;
  for (std::size_t u = 1; u + 1 < units.size(); ++u) {
    EXPECT_EQ(units[u].offset % kPackedPage, 0u);
    if (units[u].kind != PackedKind::kExpert) {
      EXPECT_EQ(units[u].kind, PackedKind::kLayer);
      continue;
    }
    ASSERT_EQ(units[u].tensors.size(), 3u);
    const std::string stem =
        "model.layers." + std::to_string(units[u].layer) + ".mlp.experts." + std::to_string(units[u].expert) + ".";
    EXPECT_EQ(units[u].tensors[0].name, stem + "gate_proj.weight");
    EXPECT_EQ(units[u].tensors[1].name, stem + "up_proj.weight");
    EXPECT_EQ(units[u].tensors[2].name, stem + "down_proj.weight");
    EXPECT_EQ(units[u].layer, units[u - 1].layer) << "experts follow the other weights of their layer";
    ++experts;
  }
  const ModelConfig& config = plan.value().config;
  EXPECT_EQ(experts, config.layers.size() * static_cast<std::size_t>(config.router.experts));
}

TEST(PackedModelTest, IsNotQuantizedAgain) {
  const MemoryFiles disk = packed(golden_dir("mixtral-gqa-top2"), pack_options("q8_0"));
  const Loaded loaded = load(disk, "m", load_options("q4_0"));
  EXPECT_EQ(loaded.model.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(loaded.model.status().field(), "quantization");
  EXPECT_EQ(plan_pack(disk, "m", pack_options("q8_0")).status().field(), "MODEL");
}

TEST(PackedModelTest, SummaryTellsWhatIsThere) {
  const MemoryFiles disk = packed(golden_dir("mixtral-gqa-top2"), pack_options("none", 60'000));
  const auto original = summarize(local_files(), golden_dir("mixtral-gqa-top2"), {});
  const auto copy = summarize(disk, "m", {});
  ASSERT_TRUE(original.ok() && copy.ok()) << copy.status().to_string();
  EXPECT_FALSE(original->packed);
  ASSERT_TRUE(copy->packed);
  EXPECT_EQ(copy->packed->experts, 10u);
  EXPECT_EQ(copy->packed->units, 14u);
  EXPECT_EQ(copy->packed->files.size(), copy->shards);
  EXPECT_EQ(copy->total.packed_bytes, original->total.packed_bytes);
  EXPECT_EQ(copy->total.file_bytes, copy->total.packed_bytes);
  EXPECT_EQ(copy->total.parameters, original->total.parameters);
}

TEST(PackedModelTest, DamageEndsTheLoadUnlessNotLookedFor) {
  const MemoryFiles good = packed(golden_dir("qwen3-moe-top4-norm"), pack_options("none"));
  const std::string data = "m/model-00001-of-00001.fgw";
  const auto index = PackedModel::open(good, "m");
  ASSERT_TRUE(index.ok());
  for (const PackedUnit& unit : index.value().index().units) {
    MemoryFiles disk = good;
    disk.contents[data][unit.offset + unit.bytes / 2] ^= 1;
    const Loaded loaded = load(disk, "m", load_options());
    EXPECT_EQ(loaded.model.status().code(), Code::kDataLoss);
    EXPECT_EQ(loaded.model.status().field(), packed_unit_text(unit)) << loaded.model.status().to_string();
    LoadOptions blind = load_options();
    blind.verify_weights = false;
    EXPECT_TRUE(load(disk, "m", blind).model.ok());
  }
  MemoryFiles cut = good;
  cut.shrink_to = good.contents.at(data).size() - 1;
  EXPECT_EQ(load(cut, "m", load_options()).model.status().code(), Code::kDataLoss);
}

TEST(PackedModelTest, EveryReadOfALoadMayFail) {
  MemoryFiles disk = packed(golden_dir("qwen3-dense-tied"), pack_options("none"));
  disk.reads = {};
  ASSERT_TRUE(load(disk, "m", load_options()).model.ok());
  const std::uint64_t reads = disk.reads;
  for (std::uint64_t n = 1; n <= reads; ++n) {
    disk.reads = {};
    disk.fail_read = n;
    const Loaded loaded = load(disk, "m", load_options());
    EXPECT_EQ(loaded.model.status().code(), Code::kUnavailable) << n << " of " << reads;
  }
  EXPECT_GT(reads, 5u);
}

// A configuration that asks for less or more than was packed.
TEST(PackedModelTest, TakesWhatTheConfigurationAsksFor) {
  const MemoryFiles good = packed(golden_dir("qwen3-moe-top4-norm"), pack_options("none"));
  nlohmann::json config = nlohmann::json::parse(good.contents.at("m/config.json"));
  const int layers = config["num_hidden_layers"];
  MemoryFiles fewer = good;
  config["num_hidden_layers"] = layers - 1;
  fewer.contents["m/config.json"] = config.dump();
  Loaded whole = load(good, "m", load_options());
  Loaded part = load(fewer, "m", load_options());
  ASSERT_TRUE(whole.model.ok() && part.model.ok()) << part.model.status().to_string();
  EXPECT_LT((*part.model)->weight_bytes(), (*whole.model)->weight_bytes());
  MemoryFiles more = good;
  config["num_hidden_layers"] = layers + 1;
  more.contents["m/config.json"] = config.dump();
  const Loaded refused = load(more, "m", load_options());
  EXPECT_EQ(refused.model.status().code(), Code::kDataLoss);
  EXPECT_NE(refused.model.status().field().find("layers." + std::to_string(layers)), std::string::npos);
}

// An index that is whole but lists formats that the model cannot have.
TEST(PackedModelTest, FormatsThatDoNotGoTogetherAreRefused) {
  const auto plan = plan_pack(local_files(), demo_dir(), pack_options("none"));
  ASSERT_TRUE(plan.ok());
  const std::pair<const char*, WeightFormat> edits[] = {
      {"model.layers.0.mlp.gate.weight", WeightFormat::kBF16},
      {"model.layers.0.input_layernorm.weight", WeightFormat::kF16},
      {"model.layers.0.mlp.experts.1.up_proj.weight", WeightFormat::kQ8_0},
  };
  for (const auto& [name, format] : edits) {
    PackedIndex index = plan.value().index;
    for (PackedUnit& unit : index.units) {
      for (PackedTensor& tensor : unit.tensors) {
        if (tensor.name == name) tensor.format = format;
      }
    }
    ASSERT_TRUE(lay_out(index, kMaxDataFileBytes).ok());
    MemoryFiles disk;
    MemoryOutput out(disk, "m");
    auto writer = PackedWriter::open(out, disk, index, {});
    ASSERT_TRUE(writer.ok());
    for (std::size_t u = 0; u < index.units.size(); ++u) ASSERT_TRUE(writer->end_unit().ok());
    ASSERT_TRUE(writer->finish(plan.value().small_files).ok());
    const Loaded loaded = load(disk, "m", load_options());
    EXPECT_FALSE(loaded.model.ok()) << name;
    EXPECT_NE(loaded.model.status().message().find("model.layers.0."), std::string::npos)
        << loaded.model.status().to_string();
  }
}

// What a pack depends on: another state of the model is another pack.
TEST_F(PackedDirectory, ChangesOfTheSourceAreNoticed) {
  const fs::path model = base_ / "model";
  fs::create_directories(base_);
  fs::copy(golden_dir("mixtral-gqa-top2"), model);
  const auto source = [&](const PackOptions& options) {
    const auto plan = plan_pack(local_files(), model.string(), options);
    EXPECT_TRUE(plan.ok()) << plan.status().to_string();
    return plan.value().index.source;
  };
  const std::uint64_t first = source(pack_options("none"));
  EXPECT_EQ(source(pack_options("none")), first);
  EXPECT_NE(source(pack_options("q8_0")), first);
  EXPECT_NE(source(pack_options("none", 1 << 20)), first);
  std::ofstream(model / "generation_config.json", std::ios::app) << "\n";
  const std::uint64_t second = source(pack_options("none"));
  EXPECT_NE(second, first);
  fs::last_write_time(model / "model.safetensors",
                      fs::last_write_time(model / "model.safetensors") + std::chrono::seconds(1));
  EXPECT_NE(source(pack_options("none")), second);
}

TEST(PackedModelTest, ReportsProgress) {
  MemoryFiles disk;
  MemoryOutput out(disk, "m");
  double last = 0.0;
  const auto report = pack(golden_dir("mixtral-gqa-top2"), pack_options("none"), disk, out,
                           [&](std::string_view stage, double fraction) {
                             EXPECT_EQ(stage, "pack");
                             EXPECT_GT(fraction, last);
                             last = fraction;
                           });
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(last, 1.0);
  std::uint64_t done = 0;
  LoadOptions options = load_options();
  options.progress = [&](std::uint64_t now, std::uint64_t total) {
    EXPECT_GT(now, done);
    EXPECT_EQ(total, report.value().index.data_bytes());
    done = now;
  };
  ASSERT_TRUE(load(disk, "m", options).model.ok());
  EXPECT_EQ(done, report.value().index.data_bytes());
}

}  // namespace
}  // namespace foregate
