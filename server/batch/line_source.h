// Lines of several inputs, one after another: files, standard input ("-"), plain or compressed by gzip or zstd (told by
// their first bytes). One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

// Bytes of one input, decompressed. kDataLoss for a damaged one.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual Result<std::size_t> read(char* to, std::size_t capacity) = 0;  // 0: the end
  virtual std::uint64_t consumed() const = 0;                            // of the file, compressed
};
Result<std::unique_ptr<ByteSource>> open_bytes(const std::string& path);

class LineSource {
 public:
  explicit LineSource(std::vector<std::string> paths) : paths_(std::move(paths)) {}
  // Opens nothing: that every path but "-" is a file that can be read, and how many bytes there are.
  Status check();
  // The next line without its end; none after the last. kInvalidArgument for one that is too long, which is skipped.
  Result<std::optional<std::string>> next();
  std::uint64_t total_bytes() const { return total_bytes_; }  // 0: not known, as of standard input
  std::uint64_t consumed_bytes() const;

 private:
  Status fill();

  std::vector<std::string> paths_;
  std::size_t next_path_ = 0;
  std::unique_ptr<ByteSource> source_;
  std::string buffer_;
  std::size_t begin_ = 0;
  bool ended_ = false;  // the current source
  std::uint64_t total_bytes_ = 0;
  std::uint64_t finished_bytes_ = 0;
};

}  // namespace foregate
