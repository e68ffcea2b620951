// One batch as the API shows it, and as it lies in FOLDER/batches: a JSON object with one member more, its owner. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "server/files/batch_files.h"

namespace foregate {

inline constexpr std::int64_t kBatchSeconds = 24 * 3600;  // completion_window, the only one there is

class BatchRecord {
 public:
  BatchRecord();
  // A new one, validating. `body` as check_batch_body() has passed it.
  BatchRecord(std::string id, std::string owner, const nlohmann::ordered_json& body, std::int64_t now);
  static Result<BatchRecord> parse(std::string_view text);

  std::string id() const { return text("id"); }
  std::string owner() const { return text("owner"); }
  std::string status() const { return text("status"); }
  std::string endpoint() const { return text("endpoint"); }
  std::string input_file() const { return text("input_file_id"); }
  std::int64_t created() const;
  std::int64_t expires() const { return created() + kBatchSeconds; }
  bool ended() const;  // nothing more will happen to it
  // Ids of the files that its answers become, the same whenever it is ended anew.
  std::string output_file() const { return "file-" + id().substr(6); }
  std::string error_file() const { return "file-e" + id().substr(6); }

  // Notes when it came: "in_progress" sets in_progress_at.
  void set_status(const char* status, std::int64_t now);
  void set_counts(std::uint64_t total, std::uint64_t completed, std::uint64_t failed);
  std::uint64_t total() const;
  void set_faults(const std::vector<BatchFault>& faults);
  void set_files(bool output, bool errors);  // which of the two there are

  std::string dump(bool with_owner) const;

 private:
  std::string text(const char* name) const;
  nlohmann::ordered_json& edit();
  std::shared_ptr<const nlohmann::ordered_json> json_;  // copies share it until one is changed
};

// kInvalidArgument names the field.
Status check_batch_body(const nlohmann::ordered_json& body);

}  // namespace foregate
