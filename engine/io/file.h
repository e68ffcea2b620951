// The disk seam: files are read through this interface alone, so that tests and the simulator can
// give short reads, errors and damage. Reads carry their own offset; objects are safe to share
// between threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

class File {
 public:
  virtual ~File() = default;
  virtual std::uint64_t size() const = 0;  // bytes at open
  virtual const std::string& path() const = 0;
  // Fills `out` from `offset` whole, or fails: kDataLoss when the file ends before, kUnavailable
  // on an I/O error. Never returns fewer bytes.
  virtual Status read(std::uint64_t offset, std::span<std::byte> out) const = 0;
  // Last change at open, in nanoseconds since 1970; 0: not known.
  virtual std::int64_t modified_ns() const { return 0; }
  // Whether reads of whole pages go past the page cache. May turn false at the first read that is refused.
  virtual bool direct() const { return false; }
  // The system's descriptor that reads of whole pages should use, for a queue of reads; -1: there is none.
  virtual int descriptor() const { return -1; }
};

// Offset, size and memory of a read that goes past the page cache are multiples of this.
inline constexpr std::size_t kDirectPage = 4096;

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual Result<std::unique_ptr<File>> open(const std::string& path) const = 0;
  // A file whose reads of whole pages go past the page cache where the system allows it; all others go through it.
  virtual Result<std::unique_ptr<File>> open_direct(const std::string& path) const { return open(path); }
  virtual bool exists(const std::string& path) const = 0;
  // Names of the files in a directory, in no order; kNotFound when there is no such directory.
  virtual Result<std::vector<std::string>> list(const std::string& dir) const = 0;
};

// pread on the local file system; open_direct() asks for O_DIRECT.
const FileSystem& local_files();

// Whole file as text; kInvalidArgument when larger than `limit` bytes (checked before allocating).
Result<std::string> read_text(const FileSystem& files, const std::string& path, std::uint64_t limit);

}  // namespace foregate
