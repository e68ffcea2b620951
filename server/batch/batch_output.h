// The file a batch is written to: only ever longer, synced at intervals, taken up again after a crash. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>

#include "engine/base/status.h"

namespace foregate {

class BatchOutput {
 public:
  BatchOutput() = default;
  BatchOutput(BatchOutput&& other) noexcept;
  BatchOutput& operator=(BatchOutput&& other) noexcept;
  ~BatchOutput();
  // Reads the lines that are there and cuts a last one that was torn. "-" is standard output, which remembers nothing.
  // kInvalidArgument when the file is no output of a batch (nothing is cut then); kUnavailable when another run has it.
  static Result<BatchOutput> open(const std::string& path);

  // Keys as batch_key() gives them.
  bool had(const std::string& key) const { return earlier_.contains(key); }  // when it was opened
  bool has(const std::string& key) const { return had(key) || keys_.contains(key); }
  std::size_t earlier_lines() const { return earlier_.size(); }
  Status append(const std::string& key, std::string_view line);
  Status sync();

 private:
  Status take_up(const std::string& path);

  int fd_ = -1;
  bool owned_ = false;
  std::string path_;
  std::unordered_set<std::string> earlier_;
  std::unordered_set<std::string> keys_;  // of this run
};

}  // namespace foregate
