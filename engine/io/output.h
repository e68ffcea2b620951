// Files that are written, the other half of the disk seam: tests fill the disk, fail a write or stop in the middle
// behind it. One directory, one writer; not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

// Errors of all writes: kResourceExhausted when the disk, a quota or a size limit is full, else kUnavailable; both name
// the file.
class OutputFile {
 public:
  virtual ~OutputFile() = default;
  virtual Status write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;  // all of them
  virtual Status resize(std::uint64_t bytes) = 0;
  virtual Status sync() = 0;  // returns when everything written is on the disk
};

class OutputDirectory {
 public:
  virtual ~OutputDirectory() = default;
  virtual const std::string& path() const = 0;
  virtual Result<std::vector<std::string>> names() const = 0;  // of what lies in it, sorted
  virtual Result<std::uint64_t> free_bytes() const = 0;        // that this user may still write there
  // A file of the directory, or of a folder in it that is made when absent. Made when absent, else kept as it is.
  virtual Result<std::unique_ptr<OutputFile>> open(const std::string& name) = 0;
  virtual Status rename(const std::string& from, const std::string& to) = 0;  // replaces `to` in one step
  virtual Status remove(const std::string& name) = 0;
  virtual Status sync() = 0;  // returns when the names are on the disk
};

// Makes the directory when it does not exist and holds it until destruction: kUnavailable when another process holds
// it, kInvalidArgument when `path` is something else.
Result<std::unique_ptr<OutputDirectory>> open_output_directory(const std::string& path);

}  // namespace foregate
