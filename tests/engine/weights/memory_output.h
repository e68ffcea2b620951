// A directory in memory that is written, over the same MemoryFiles that it is read back from: it can fail, stop in the
// middle of a write as a killed process does, or be full.
#pragma once

#include <algorithm>
#include <set>

#include "engine/io/output.h"
#include "tests/engine/weights/memory_files.h"

namespace foregate {

class MemoryOutput final : public OutputDirectory {
 public:
  MemoryOutput(MemoryFiles& files, std::string path) : files_(files), path_(std::move(path)) {}

  std::uint64_t free = UINT64_MAX;
  std::uint64_t free_later = UINT64_MAX;  // from the operation that fails on
  std::uint64_t stop_at = 0;  // this operation (counted from 1) fails, a write half done, and all after it; 0: none
  Status stop_with = unavailable("Input/output error");
  std::uint64_t operations = 0;
  std::uint64_t largest_write = 0;

  const std::string& path() const override { return path_; }
  Result<std::vector<std::string>> names() const override {
    std::set<std::string> names;
    for (const auto& [path, text] : files_.contents) {
      if (!path.starts_with(path_ + "/")) continue;
      const std::string rest = path.substr(path_.size() + 1);
      names.insert(rest.substr(0, rest.find('/')));
    }
    return std::vector<std::string>(names.begin(), names.end());
  }
  Result<std::uint64_t> free_bytes() const override { return stop_at > 0 && operations >= stop_at ? free_later : free; }
  Result<std::unique_ptr<OutputFile>> open(const std::string& name) override {
    if (!go()) return stop_with;
    return std::unique_ptr<OutputFile>(new MemoryOutputFile(*this, files_.contents[path_ + "/" + name]));
  }
  Status rename(const std::string& from, const std::string& to) override {
    if (!go()) return stop_with;
    auto node = files_.contents.extract(path_ + "/" + from);
    if (node.empty()) return not_found(from);
    files_.contents[path_ + "/" + to] = std::move(node.mapped());
    return {};
  }
  Status remove(const std::string& name) override {
    if (!go()) return stop_with;
    return files_.contents.erase(path_ + "/" + name) == 1 ? Status() : not_found(name);
  }
  Status sync() override { return go() ? Status() : stop_with; }

 private:
  struct MemoryOutputFile final : OutputFile {
    MemoryOutputFile(MemoryOutput& out, std::string& text) : out_(out), text_(text) {}
    Status write(std::uint64_t offset, std::span<const std::byte> bytes) override {
      const bool whole = out_.go();
      const std::size_t count = whole ? bytes.size() : out_.operations == out_.stop_at ? bytes.size() / 2 : 0;
      out_.largest_write = std::max<std::uint64_t>(out_.largest_write, bytes.size());
      if (text_.size() < offset + count) text_.resize(offset + count);
      std::memcpy(text_.data() + offset, bytes.data(), count);
      return whole ? Status() : out_.stop_with;
    }
    Status resize(std::uint64_t bytes) override {
      if (!out_.go()) return out_.stop_with;
      text_.resize(bytes);
      return {};
    }
    Status sync() override { return out_.go() ? Status() : out_.stop_with; }
    MemoryOutput& out_;
    std::string& text_;
  };

  bool go() { return ++operations < stop_at || stop_at == 0; }

  MemoryFiles& files_;
  std::string path_;
};

}  // namespace foregate
