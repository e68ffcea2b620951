#include "server/files/batch_record.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "server/openai/fields.h"
#include "server/openai/members.h"

namespace foregate {
namespace {

constexpr const char* kEndpoints[] = {"/v1/chat/completions", "/v1/completions"};
constexpr const char* kTimes[] = {"in_progress_at", "finalizing_at", "completed_at", "failed_at",
                                  "expired_at",     "cancelling_at", "cancelled_at"};
constexpr std::size_t kMaxMetadata = 16, kMaxKey = 64, kMaxValue = 512;

Status check_metadata(const Json& metadata) {
  if (!metadata.is_object()) return bad_member("metadata", "must be an object");
  if (metadata.size() > kMaxMetadata) return bad_member("metadata", "has more than 16 members");
  for (const auto& [key, value] : metadata.items()) {
    if (key.size() > kMaxKey) return bad_member("metadata", "has a name of more than 64 bytes");
    if (!value.is_string()) return bad_member("metadata", "must hold strings only");
    if (value.get_ref<const std::string&>().size() > kMaxValue)
      return bad_member("metadata", "holds a string of more than 512 bytes");
  }
  return {};
}

}  // namespace

Status check_batch_body(const Json& body) {
  const Json* file = member(body, "input_file_id");
  if (file == nullptr || !file->is_string()) return bad_member("input_file_id", "must be a string");
  const std::string endpoint = text_member(body, "endpoint");
  bool known = false;
  for (const char* one : kEndpoints) known = known || endpoint == one;
  if (!known) return bad_member("endpoint", "must be /v1/chat/completions or /v1/completions");
  if (text_member(body, "completion_window") != "24h") return bad_member("completion_window", "must be 24h");
  const Json* metadata = member(body, "metadata");
  return metadata == nullptr ? Status() : check_metadata(*metadata);
}

BatchRecord::BatchRecord() : json_(std::make_shared<const Json>(Json::object())) {}

BatchRecord::BatchRecord(std::string id, std::string owner, const Json& body, std::int64_t now) : BatchRecord() {
  Json& json = edit();
  json["id"] = std::move(id);
  json["object"] = "batch";
  json["endpoint"] = body["endpoint"];
  json["errors"] = nullptr;
  json["input_file_id"] = body["input_file_id"];
  json["completion_window"] = "24h";
  json["status"] = "validating";
  json["output_file_id"] = nullptr;
  json["error_file_id"] = nullptr;
  json["created_at"] = now;
  json["expires_at"] = now + kBatchSeconds;
  for (const char* name : kTimes) json[name] = nullptr;
  const Json* metadata = member(body, "metadata");
  json["request_counts"] = nullptr;
  json["metadata"] = metadata == nullptr ? Json(nullptr) : *metadata;
  json["owner"] = std::move(owner);
  set_counts(0, 0, 0);
}

Json& BatchRecord::edit() {
  auto own = std::make_shared<Json>(*json_);
  Json& json = *own;
  json_ = std::move(own);
  return json;
}

Result<BatchRecord> BatchRecord::parse(std::string_view text) {
  BatchRecord record;
  record.json_ = std::make_shared<const Json>(Json::parse(text, nullptr, false));
  const Json& json = *record.json_;
  const bool whole = json.is_object() && json.contains("created_at") && json["created_at"].is_number_integer() &&
                     json.contains("request_counts") && json["request_counts"].is_object();
  if (!whole || !record.id().starts_with("batch_") || record.id().find('/') != std::string::npos ||
      record.status().empty()) {
    return data_loss("is no batch");
  }
  return record;
}

std::string BatchRecord::text(const char* name) const {
  return text_member(*json_, name);
}

std::int64_t BatchRecord::created() const {
  return json_->at("created_at").get<std::int64_t>();
}

bool BatchRecord::ended() const {
  const std::string now = status();
  return now == "failed" || now == "completed" || now == "expired" || now == "cancelled";
}

void BatchRecord::set_status(const char* status, std::int64_t now) {
  Json& json = edit();
  json["status"] = status;
  const std::string time = std::string(status) + "_at";
  for (const char* name : kTimes) {
    if (time == name) json[time] = now;
  }
}

void BatchRecord::set_counts(std::uint64_t total, std::uint64_t completed, std::uint64_t failed) {
  edit()["request_counts"] = {{"total", total}, {"completed", completed}, {"failed", failed}};
}

std::uint64_t BatchRecord::total() const {
  return json_->at("request_counts").value("total", std::uint64_t{0});
}

void BatchRecord::set_faults(const std::vector<BatchFault>& faults) {
  Json list = Json::array();
  for (const BatchFault& fault : faults) {
    list.push_back({{"code", fault.code}, {"message", fault.message}});
    list.back()["param"] = fault.param.empty() ? Json(nullptr) : Json(fault.param);
    list.back()["line"] = fault.line == 0 ? Json(nullptr) : Json(fault.line);
  }
  Json& errors = edit()["errors"];
  errors = {{"object", "list"}};
  errors["data"] = std::move(list);
}

void BatchRecord::set_files(bool output, bool errors) {
  Json& json = edit();
  json["output_file_id"] = output ? Json(output_file()) : Json(nullptr);
  json["error_file_id"] = errors ? Json(error_file()) : Json(nullptr);
}

std::string BatchRecord::dump(bool with_owner) const {
  Json shown = *json_;
  if (!with_owner) shown.erase("owner");
  return shown.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace foregate
