// Finding templates and special tokens in a model's directory.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "tests/engine/template/helpers.h"

namespace foregate {
namespace {

class MemoryFile : public File {
 public:
  MemoryFile(std::string path, std::string bytes) : path_(std::move(path)), bytes_(std::move(bytes)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset + out.size() > bytes_.size()) return data_loss("short file");
    std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  std::string path_, bytes_;
};

class MemoryFiles : public FileSystem {
 public:
  std::map<std::string, std::string> files;
  Result<std::unique_ptr<File>> open(const std::string& path) const override {
    const auto it = files.find(path);
    if (it == files.end()) return not_found(path);
    return std::unique_ptr<File>(std::make_unique<MemoryFile>(path, it->second));
  }
  bool exists(const std::string& path) const override { return files.count(path) > 0; }
  Result<std::vector<std::string>> list(const std::string&) const override { return std::vector<std::string>{}; }
};

std::string loaded_text(const MemoryFiles& files, bool with_tools = false) {
  const auto loaded = load_chat_template(files, "m");
  if (!loaded.ok()) return loaded.status().to_string();
  nlohmann::ordered_json variables = {{"tools", nullptr}};
  if (with_tools) variables["tools"] = nlohmann::ordered_json::array();
  return loaded.value()->render(variables).value().text;
}

TEST(TemplateLoad, FileComesBeforeConfig) {
  MemoryFiles files;
  files.files["m/tokenizer_config.json"] = R"({"chat_template": "from config"})";
  EXPECT_EQ(loaded_text(files), "from config");
  files.files["m/chat_template.jinja"] = "from file\n";
  EXPECT_EQ(loaded_text(files), "from file");
  EXPECT_EQ(load_chat_template(files, "m/").value()->render(nlohmann::ordered_json::object()).value().text,
            "from file");
}

TEST(TemplateLoad, NamedTemplates) {
  MemoryFiles files;
  files.files["m/tokenizer_config.json"] =
      R"({"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]})";
  EXPECT_EQ(loaded_text(files), "plain");
  EXPECT_EQ(loaded_text(files, true), "tools");
  files.files["m/chat_template.jinja"] = "file";
  EXPECT_EQ(loaded_text(files, true), "file");
  files.files["m/additional_chat_templates/tool_use.jinja"] = "file tools";
  EXPECT_EQ(loaded_text(files, true), "file tools");
  EXPECT_EQ(loaded_text(files), "file");
}

TEST(TemplateLoad, NothingThere) {
  MemoryFiles files;
  EXPECT_EQ(load_chat_template(files, "m").status().code(), Code::kNotFound);
  files.files["m/tokenizer_config.json"] = "{}";
  EXPECT_EQ(load_chat_template(files, "m").status().code(), Code::kNotFound);
  files.files["m/tokenizer_config.json"] = R"({"chat_template": [{"name": "rag", "template": "x"}]})";
  EXPECT_EQ(load_chat_template(files, "m").status().code(), Code::kInvalidArgument);
}

TEST(TemplateLoad, SizesAreBounded) {
  MemoryFiles files;
  files.files["m/chat_template.jinja"] = std::string((1u << 20) + 1, 'a');
  EXPECT_FALSE(load_chat_template(files, "m").ok());
  files.files["m/chat_template.jinja"] = "{{ x | nothing }}";
  EXPECT_EQ(load_chat_template(files, "m").status().code(), Code::kUnimplemented);
}

TEST(TemplateLoad, SpecialTokens) {
  const auto config = parse_tokenizer_config(
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "unk_token": null,
          "add_bos_token": true, "added_tokens_decoder": {"1": {"content": "x"}}})");
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->bos_token, "<s>");
  EXPECT_EQ(config->eos_token, "</s>");
  EXPECT_EQ(config->unk_token, "");
  EXPECT_EQ(config->add_bos_token, true);
  EXPECT_FALSE(config->add_eos_token.has_value());
  EXPECT_TRUE(config->chat_templates.empty());
}

TEST(TemplateLoad, BadConfigsNameTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"bos_token": 3})", "bos_token"},
      {R"({"eos_token": {"lstrip": true}})", "eos_token"},
      {R"({"pad_token": {"content": 1}})", "pad_token"},
      {R"({"unk_token": ["a"]})", "unk_token"},
      {R"({"add_bos_token": "yes"})", "add_bos_token"},
      {R"({"chat_template": 7})", "chat_template"},
      {R"({"chat_template": {"default": "x"}})", "chat_template"},
      {R"({"chat_template": ["x"]})", "chat_template"},
      {R"({"chat_template": [{"name": "default"}]})", "chat_template"},
      {R"({"chat_template": [{"name": "a", "template": "x"}, {"name": "a", "template": "y"}]})", "chat_template"}};
  for (const auto& [text, field] : cases) {
    const Status status = parse_tokenizer_config(text).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_EQ(status.field(), field) << text;
    EXPECT_NE(status.message().find(field), std::string::npos) << status.message();
  }
  for (const std::string text : {"", "[]", "{", "{\"a\": 1} x", "null", "\xff"}) {
    EXPECT_EQ(parse_tokenizer_config(text).status().code(), Code::kInvalidArgument) << text;
  }
  EXPECT_EQ(parse_tokenizer_config(std::string(1000000, '[')).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace foregate
