// Reads a trace file (trace.h), one step in memory at a time; everything is checked before it is used. One thread.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/trace.h"
#include "engine/io/file.h"

namespace foregate {

class TraceReader {
 public:
  // Reads the header. `file` must outlive the reader. kDataLoss for damage, kUnimplemented for another version; all
  // errors name the file and the offset.
  static Result<TraceReader> open(const File& file);

  const TraceInfo& info() const { return info_; }
  // The next step into `step`; false after the last one. kDataLoss for damage: a file that just stops is damaged too.
  Result<bool> next(TraceStep& step);
  std::int64_t steps() const { return steps_; }  // read so far

 private:
  explicit TraceReader(const File& file) : file_(&file) {}
  Status read_header();
  Status read_layers(std::span<const std::byte> header, std::size_t at);
  Status read_counters(std::span<const std::byte> header, std::size_t at);
  Status parse_step(TraceStep& step) const;
  Status parse_layer(std::size_t at, std::size_t rows, TraceLayer& layer) const;
  Status check_end() const;
  Status damaged(std::uint64_t offset, const std::string& what) const;

  const File* file_;
  TraceInfo info_;
  std::uint64_t offset_ = 0;  // of the next frame
  std::int64_t steps_ = 0;
  std::int64_t last_step_ = -1;
  bool ended_ = false;
  std::vector<std::byte> payload_;
};

}  // namespace foregate
