// Where a path leads, and what is refused on the way.
#include "engine/model/model_source.h"

#include <gtest/gtest.h>

#include "kernels/api/blocks.h"
#include "tests/engine/model/driver.h"
#include "tests/engine/model/made_gguf.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {
namespace {

TEST(ModelSource, KindsByWhatIsThere) {
  MemoryFiles disk;
  disk.contents["hf/config.json"] = "{}";
  disk.contents["hf/model.safetensors"] = "";
  disk.contents["both/model.safetensors.index.json"] = "{}";
  disk.contents["both/x.gguf"] = "GGUF";
  disk.contents["packed/model.fgw.index.json"] = "{}";
  disk.contents["packed/x.gguf"] = "GGUF";
  disk.contents["packed-gguf/model.fgw.index.json"] = "{}";
  disk.contents["packed-gguf/metadata.gguf"] = "GGUF";
  disk.contents["one/x.gguf"] = "GGUF";
  disk.contents["one/config.json"] = "{}";
  disk.contents["split/x-00001-of-00002.gguf"] = "GGUF";
  disk.contents["split/x-00002-of-00002.gguf"] = "GGUF";
  disk.contents["blob"] = "GGUF and more";
  const auto expect = [&](const char* path, ModelKind kind, const char* where) {
    const auto source = find_model(disk, path);
    ASSERT_TRUE(source.ok()) << path << ": " << source.status().to_string();
    EXPECT_EQ(source->kind, kind) << path;
    EXPECT_EQ(source->path, where) << path;
  };
  expect("hf", ModelKind::kHuggingFace, "hf");
  expect("hf///", ModelKind::kHuggingFace, "hf");
  expect("both", ModelKind::kHuggingFace, "both");
  expect("packed", ModelKind::kHuggingFace, "packed");
  expect("packed-gguf/", ModelKind::kPackedGguf, "packed-gguf");
  expect("one", ModelKind::kGguf, "one/x.gguf");
  expect("one/x.gguf", ModelKind::kGguf, "one/x.gguf");
  expect("split/", ModelKind::kGguf, "split/x-00001-of-00002.gguf");
  expect("blob", ModelKind::kGguf, "blob");
}

TEST(ModelSource, RefusalsSayWhatIsThere) {
  MemoryFiles disk;
  disk.contents["two/a.gguf"] = "GGUF";
  disk.contents["two/b.gguf"] = "GGUF";
  disk.contents["text.txt"] = "hello, this is a text";
  disk.contents["short"] = "GG";
  disk.contents["unfinished/metadata.gguf"] = "GGUF";
  disk.contents["unfinished/pack.journal"] = "";
  const auto message = [&](const char* path) { return find_model(disk, path).status().to_string(); };
  EXPECT_NE(message("two").find("several GGUF models; give the path of one, such as two/a.gguf"), std::string::npos);
  EXPECT_NE(message("text.txt").find("neither a directory nor a GGUF file"), std::string::npos);
  EXPECT_NE(message("short").find("neither a directory nor a GGUF file"), std::string::npos);
  EXPECT_NE(message("unfinished").find("holds an unfinished pack"), std::string::npos);
  EXPECT_EQ(find_model(disk, "nowhere").status().code(), Code::kNotFound);
}

TEST(ModelSource, NamesOfModels) {
  EXPECT_EQ(model_name("/models/olmoe"), "olmoe");
  EXPECT_EQ(model_name("/models/olmoe//"), "olmoe");
  EXPECT_EQ(model_name("olmoe-Q4_0.gguf"), "olmoe-Q4_0");
  EXPECT_EQ(model_name("d/olmoe-00001-of-00003.gguf"), "olmoe");
  EXPECT_EQ(model_name("d/olmoe-00002-of-00003.gguf"), "olmoe-00002-of-00003");
  EXPECT_EQ(model_name(".gguf"), ".gguf");
  EXPECT_EQ(model_name("sha256-0123"), "sha256-0123");
}

TEST(ModelSource, OpensAGgufModelOnDisk) {
  const std::string path = write_gguf(made_gguf({}), "source.gguf");
  const auto model = open_model(local_files(), path);
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->config.arch, &kArchQwen3Moe);
  EXPECT_EQ(model->index.shards(), 1u);
  EXPECT_NE(model->gguf.find("general.architecture"), nullptr);
}

// The rows of q and k are put back in order: with the table of names alone the answer would be another.
TEST(ModelSource, PairedRowsMatter) {
  auto model = open_model(local_files(), gguf_fixture("mixtral-gqa-top2"));
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  ASSERT_TRUE(model->config.paired_rope_rows);
  std::string error;
  Backend backend = make_backend({.isa = "generic", .threads = 1}, &error);
  const auto stream = backend.device->create_stream();
  const auto right = load_transformer(model.value(), *backend.device, backend.ops, *stream, {});
  model->config.paired_rope_rows = false;
  const auto wrong = load_transformer(model.value(), *backend.device, backend.ops, *stream, {});
  ASSERT_TRUE(right.ok() && wrong.ok());
  const auto row = [&](const Transformer& made, std::int64_t number) {
    const PackedWeight& q = made.weights().layers[0].attention.q.weight;
    std::vector<float> values(static_cast<std::size_t>(q.cols));
    unpack_row(q, number, values.data());
    return values;
  };
  const std::int64_t half = model->config.head_dim / 2;
  for (std::int64_t head = 0; head < model->config.heads; ++head) {
    const std::int64_t first = head * model->config.head_dim;
    for (std::int64_t i = 0; i < half; ++i) {
      EXPECT_EQ(row(*right.value(), first + i), row(*wrong.value(), first + 2 * i));
      EXPECT_EQ(row(*right.value(), first + half + i), row(*wrong.value(), first + 2 * i + 1));
    }
  }
  EXPECT_NE(row(*right.value(), 1), row(*wrong.value(), 1));
}

}  // namespace
}  // namespace foregate
