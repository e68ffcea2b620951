// Tokenizers for these tests: the committed small ones, and files made up in memory.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "engine/text/tokenizer.h"

namespace foregate::test {

class MemoryFile : public File {
 public:
  explicit MemoryFile(std::string content) : content_(std::move(content)) {}
  std::uint64_t size() const override { return content_.size(); }
  const std::string& path() const override { return path_; }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (offset > content_.size() || out.size() > content_.size() - offset) return data_loss("short file");
    std::memcpy(out.data(), content_.data() + offset, out.size());
    return {};
  }

 private:
  std::string content_, path_ = "tokenizer.json";
};

class MemoryFiles : public FileSystem {
 public:
  explicit MemoryFiles(std::string content) : content_(std::move(content)) {}
  Result<std::unique_ptr<File>> open(const std::string&) const override {
    return std::unique_ptr<File>(std::make_unique<MemoryFile>(content_));
  }
  bool exists(const std::string&) const override { return true; }
  Result<std::vector<std::string>> list(const std::string&) const override { return std::vector<std::string>{}; }

 private:
  std::string content_;
};

inline Result<std::unique_ptr<Tokenizer>> load_text(const std::string& json) {
  return load_tokenizer(MemoryFiles(json), "tokenizer.json");
}

inline std::unique_ptr<Tokenizer> load_fixture(const std::string& name) {
  const std::string path = FOREGATE_SOURCE_DIR "/tests/golden/tokenizer/synthetic/" + name + ".json";
  auto made = load_tokenizer(local_files(), path);
  EXPECT_TRUE(made.ok()) << made.status().to_string();
  return made.ok() ? std::move(made).value() : nullptr;
}

// A tokenizer.json of four letters, two merges and one special token; each part can be replaced.
struct SmallFile {
  std::string added = R"([{"id":6,"content":"<end>","special":true}])";
  std::string normalizer = "null", pre_tokenizer = "null", post_processor = "null", decoder = R"({"type":"Fuse"})";
  std::string vocab = R"({"a":0,"b":1,"c":2,"d":3,"ab":4,"abc":5})";
  std::string merges = R"(["a b",["ab","c"]])";
  std::string options = R"("type":"BPE",)";  // more keys of the model

  std::string text() const {
    return R"({"version":"1.0","added_tokens":)" + added + R"(,"normalizer":)" + normalizer + R"(,"pre_tokenizer":)" +
           pre_tokenizer + R"(,"post_processor":)" + post_processor + R"(,"decoder":)" + decoder + R"(,"model":{)" +
           options + R"("vocab":)" + vocab + R"(,"merges":)" + merges + "}}";
  }
};

}  // namespace foregate::test
