// Booting from a GGUF file: text, names and defaults from its metadata, and refusals by key.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/io/output.h"
#include "engine/model/pack_model.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/model_text.h"
#include "kernels/registry/registry.h"
#include "tests/engine/model/made_gguf.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

constexpr std::uint32_t kVocab = 96;

GgufBuilder speaking() {
  GgufBuilder file = made_gguf({.matrices = DType::kQ8_0});
  add_text(file, kVocab);
  file.f32("general.sampling.temp", 0.7f);
  return file;
}

BootOptions options_for(const GgufBuilder& file, const std::string& name) {
  BootOptions options;
  options.model = write_gguf(file, name);
  options.threads = 1;
  options.max_num_seqs = 4;
  return options;
}

TEST(GgufBoot, FromOneFileToTokens) {
  const auto booted = boot_engine(options_for(speaking(), "olmo-like-q8.gguf"));
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  BootedEngine& b = *booted.value();
  EXPECT_EQ(b.report().model_name, "olmo-like-q8");
  EXPECT_EQ(b.generation_defaults().temperature, 0.7f);
  EXPECT_EQ(b.engine().model().eos_token_ids, (std::vector<Token>{3, 95}));
  EXPECT_EQ(b.engine().model().vocab_size, 96);
  EXPECT_EQ(b.eos_token(), "$");  // of id 3
  EXPECT_EQ(b.bos_token(), "");
  ASSERT_NE(b.chat_template(), nullptr);
  const auto chat = b.chat_template()->render({{"messages", {{{"role", "user"}, {"content", "ab!"}}}}});
  ASSERT_TRUE(chat.ok()) << chat.status().to_string();
  EXPECT_EQ(b.tokenizer()->encode(chat->text).value(), (std::vector<Token>{94, 0, 95}));

  auto sink = std::make_shared<CollectSink>();
  Request request = make_request(1, {94, 0, 95}, 6);
  request.sampling.ignore_eos = true;
  ASSERT_TRUE(b.engine().submit(request, sink).ok());
  ASSERT_TRUE(sink->wait_finished(1));
  EXPECT_EQ(sink->log().tokens.size(), 6u);
}

TEST(GgufBoot, WithoutATemplateAndUnderAnotherName) {
  GgufBuilder file = speaking();
  file.drop("tokenizer.chat_template");
  BootOptions options = options_for(file, "plain.gguf");
  options.model_name = "mine";
  const auto booted = boot_engine(options);
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  EXPECT_EQ(booted.value()->chat_template(), nullptr);
  EXPECT_EQ(booted.value()->report().model_name, "mine");
}

TEST(GgufBoot, NamedTemplates) {
  GgufBuilder file = speaking();
  file.text("tokenizer.chat_template.tool_use", "tools");
  file.texts("tokenizer.chat_templates", {"tool_use"});
  const auto booted = boot_engine(options_for(file, "tools.gguf"));
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  EXPECT_EQ(booted.value()->chat_template()->render({{"tools", nlohmann::ordered_json::array()}})->text, "tools");
}

std::vector<Token> tokens_of(BootedEngine& booted) {
  auto sink = std::make_shared<CollectSink>();
  Request request = make_request(1, {94, 0, 95}, 12);
  request.sampling.ignore_eos = true;
  EXPECT_TRUE(booted.engine().submit(request, sink).ok());
  EXPECT_TRUE(sink->wait_finished(1));
  return sink->log().tokens;
}

// A packed GGUF model brings text, defaults and tokens of the file.
TEST(GgufBoot, PackedModelsBootAsTheFileDoes) {
  const BootOptions options = options_for(speaking(), "packed-too.gguf");
  BootOptions packed = options;
  packed.model = ::testing::TempDir() + "/foregate_boot_packed";
  std::filesystem::remove_all(packed.model);
  const auto plan = plan_pack(local_files(), options.model, {});
  ASSERT_TRUE(plan.ok()) << plan.status().to_string();
  std::string error;
  const Backend backend = make_backend({.isa = "auto", .threads = 1}, &error);
  const auto stream = backend.device->create_stream();
  {
    auto out = open_output_directory(packed.model);
    ASSERT_TRUE(run_pack(plan.value(), local_files(), **out, backend.ops, *stream, {}).ok());
  }
  const auto original = boot_engine(options);
  const auto copy = boot_engine(packed);
  ASSERT_TRUE(original.ok() && copy.ok()) << copy.status().to_string();
  BootedEngine& a = *original.value();
  BootedEngine& b = *copy.value();
  EXPECT_EQ(b.report().model_name, "foregate_boot_packed");
  EXPECT_EQ(b.report().weights.find("packed interleave16"), 0u);
  EXPECT_EQ(b.generation_defaults().temperature, 0.7f);
  EXPECT_EQ(a.engine().model().eos_token_ids, b.engine().model().eos_token_ids);
  EXPECT_EQ(a.eos_token(), b.eos_token());
  const nlohmann::ordered_json chat = {{"messages", {{{"role", "user"}, {"content", "ab!"}}}}};
  EXPECT_EQ(a.chat_template()->render(chat)->text, b.chat_template()->render(chat)->text);
  EXPECT_EQ(a.tokenizer()->encode("ab!").value(), b.tokenizer()->encode("ab!").value());
  EXPECT_EQ(tokens_of(a), tokens_of(b));
  std::filesystem::remove_all(packed.model);
}

struct Refusal {
  std::function<void(GgufBuilder&)> edit;
  const char* field;
  const char* message;
};

TEST(GgufBoot, TextThatDoesNotFitIsRefusedByKey) {
  const std::string p = "tokenizer.ggml.";
  const Refusal cases[] = {
      {[&](auto& f) { f.drop(p + "tokens"); }, "tokenizer.ggml.tokens", "missing or empty"},
      {[&](auto& f) { f.text(p + "tokens", "a b c"); }, "tokenizer.ggml.tokens", "is a string, not an array of string"},
      {[&](auto& f) {
         f.i32s(p + "tokens", {1, 2});
       },
       "tokenizer.ggml.tokens", "array of 2 i32"},
      {[&](auto& f) { f.f32s(p + "token_type", {1.0f}); }, "tokenizer.ggml.token_type", "array of 1 f32"},
      {[&](auto& f) {
         f.i32s(p + "token_type", {1, 1});
       },
       "tokenizer.ggml.token_type", "has 2 entries for 96 tokens"},
      {[&](auto& f) { f.drop(p + "merges"); }, "tokenizer.ggml.merges", "missing or empty"},
      {[&](auto& f) { f.texts(p + "merges", {"ab"}); }, "tokenizer.ggml.merges", "merges[0] is not two parts"},
      {[&](auto& f) { f.drop(p + "model"); }, "tokenizer.ggml.model", "known: gpt2, llama"},
      {[&](auto& f) { f.text(p + "model", "bert"); }, "tokenizer.ggml.model", "\"bert\" is not supported"},
      {[&](auto& f) { f.text(p + "pre", "klingon"); }, "tokenizer.ggml.pre", "\"klingon\" is not supported"},
      {[&](auto& f) { f.text(p + "model", "llama"); }, "tokenizer.ggml.scores", "has 0 entries for 96 tokens"},
      {[&](auto& f) { f.u32(p + "add_bos_token", 1); }, "tokenizer.ggml.add_bos_token", "is a u32, not a bool"},
      {[&](auto& f) { f.flag(p + "add_bos_token", true); }, "tokenizer.ggml.bos_token_id", "without bos_token_id"},
      {[&](auto& f) { f.text("tokenizer.chat_template", "{% if %}"); }, "chat_template", "tokenizer.chat_template"},
      {[&](auto& f) { f.u32("tokenizer.chat_template", 1); }, "tokenizer.chat_template", "is a u32, not a string"},
  };
  for (const Refusal& each : cases) {
    SCOPED_TRACE(std::string(each.field) + " " + each.message);
    GgufBuilder file = speaking();
    each.edit(file);
    const BootOptions options = options_for(file, "refused.gguf");
    const auto booted = boot_engine(options);
    ASSERT_FALSE(booted.ok());
    EXPECT_EQ(booted.status().field(), each.field) << booted.status().to_string();
    EXPECT_NE(booted.status().message().find(each.message), std::string::npos) << booted.status().message();
    EXPECT_NE(booted.status().message().find(options.model), std::string::npos) << booted.status().message();
  }
}

// A model without text can still be measured and inspected.
TEST(GgufBoot, ModelsBootWithoutText) {
  const auto booted = boot_model(options_for(made_gguf({}), "mute.gguf"));
  ASSERT_TRUE(booted.ok()) << booted.status().to_string();
  EXPECT_EQ(booted.value()->info().architecture, "Qwen3MoeForCausalLM");
  EXPECT_FALSE(boot_engine(options_for(made_gguf({}), "mute.gguf")).ok());
}

TEST(GgufBoot, SentencePieceIdsDefault) {
  GgufBuilder file;
  file.text("tokenizer.ggml.model", "llama");
  file.texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "a"});
  file.i32s("tokenizer.ggml.token_type", {2, 3, 3, 99});
  const std::string path = write_gguf(file, "pieces.gguf");
  auto opened = local_files().open(path);
  auto header = read_gguf_header(*opened.value());
  ASSERT_TRUE(header.ok()) << header.status().to_string();
  const auto vocab = take_gguf_vocab(header.value(), path);
  ASSERT_TRUE(vocab.ok());
  EXPECT_EQ(vocab->unknown, 0);
  EXPECT_EQ(vocab->bos, 1);
  EXPECT_EQ(vocab->eos, 2);
  EXPECT_EQ(vocab->padding, -1);
  EXPECT_EQ(vocab->types.at(3), GgufTokenType::kUndefined);
  EXPECT_TRUE(header->find("tokenizer.ggml.tokens")->texts.empty()) << "held twice";
}

}  // namespace
}  // namespace foregate
