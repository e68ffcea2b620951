#include "server/batch/batch_line.h"

#include <nlohmann/json.hpp>

#include "engine/api/limits.h"
#include "engine/base/checksum.h"
#include "server/openai/fields.h"

namespace foregate {
namespace {

constexpr const char* kUrls[] = {"/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"};
constexpr std::uint64_t kPositive = 0x7fffffffffffffffULL;

std::string id_of(std::uint64_t position) {
  return "batch_req_" + std::to_string(position);
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json head(std::uint64_t position, const std::string& custom_id) {
  Json line = Json::object();
  line["id"] = id_of(position);
  line["custom_id"] = custom_id.empty() ? Json() : Json(custom_id);
  return line;
}

Status check_url(const std::string& url) {
  for (const char* known : kUrls) {
    if (url == known) return {};
  }
  return invalid_argument(
      "url is not one that batches take: /v1/chat/completions, /v1/completions, /tokenize, /detokenize", "url");
}

// The text that the prompt begins with, as far as the body shows it.
std::string beginning_of(const Json& body) {
  for (const char* name : {"prompt", "messages"}) {
    const auto found = body.find(name);
    if (found == body.end()) continue;
    std::string text = found->is_string() ? found->get<std::string>() : dump(*found);
    if (text.size() > kBeginning) text.resize(kBeginning);
    return text;
  }
  return {};
}

Status read_body(const Json& line, std::uint64_t seed, BatchLine& parsed) {
  const auto found = line.find("body");
  if (found == line.end() || !found->is_object()) return invalid_argument("body must be an object", "body");
  Json copy = *found;
  const auto stream = copy.find("stream");
  if (stream != copy.end() && *stream == true)
    return invalid_argument("body.stream has no place in a batch", "body.stream");
  const auto given = copy.find("seed");
  if (given == copy.end() || given->is_null()) copy["seed"] = (checksum(parsed.custom_id) ^ seed) & kPositive;
  parsed.body = dump(copy);
  parsed.beginning = beginning_of(copy);
  return {};
}

}  // namespace

Result<BatchLine> parse_batch_line(std::string_view text, std::uint64_t seed, std::string* custom_id) {
  ASSIGN_OR_RETURN(const Json line, parse_object(text));
  Fields fields(line);
  BatchLine parsed;
  fields.text("custom_id", kMaxCustomIdBytes, parsed.custom_id);
  if (fields.ok() && parsed.custom_id.empty()) fields.fail("custom_id", "must be a string that is not empty");
  RETURN_IF_ERROR(fields.status());
  *custom_id = parsed.custom_id;
  std::string method = "POST";
  fields.text("method", 16, method);
  if (fields.ok() && method != "POST") fields.fail("method", "must be POST");
  fields.text("url", 256, parsed.url);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(check_url(parsed.url));
  RETURN_IF_ERROR(read_body(line, seed, parsed));
  return parsed;
}

std::string batch_answer(std::uint64_t position, const std::string& custom_id, int http_status, std::string_view body,
                         std::int64_t created) {
  Json line = head(position, custom_id);
  Json answer = Json::parse(body, nullptr, false);
  if (answer.is_discarded()) answer = std::string(body);
  if (answer.is_object()) {
    if (answer.contains("id")) answer["id"] = id_of(position);
    if (answer.contains("created")) answer["created"] = created;
    answer.erase("timings");
    const auto usage = answer.find("usage");  // what others had computed before says nothing about the line
    if (usage != answer.end() && usage->is_object()) usage->erase("prompt_tokens_details");
  }
  line["response"] = Json::object();
  line["response"]["status_code"] = http_status;
  line["response"]["request_id"] = id_of(position);
  line["response"]["body"] = std::move(answer);
  line["error"] = nullptr;
  return dump(line);
}

std::string batch_fault(std::uint64_t position, const std::string& custom_id, const Status& status) {
  Json line = head(position, custom_id);
  line["response"] = nullptr;
  line["error"] = Json::object();
  line["error"]["code"] = "invalid_request";
  line["error"]["message"] = status.message();
  line["error"]["param"] = status.field().empty() ? Json() : Json(status.field());
  line["error"]["line"] = position;
  return dump(line);
}

Result<std::string> batch_key(std::string_view output_line) {
  const Json line = Json::parse(output_line, nullptr, false);
  const bool whole = line.is_object() && line.contains("id") && line["id"].is_string() && line.contains("custom_id") &&
                     line.contains("response") && line.contains("error");
  if (!whole) return data_loss("is no output line of a batch");
  const Json& custom_id = line["custom_id"];
  if (custom_id.is_string()) return "c:" + custom_id.get<std::string>();
  if (!custom_id.is_null()) return data_loss("has a custom_id that is no string");
  return "i:" + line["id"].get<std::string>();
}

std::string batch_key(std::uint64_t position, const std::string& custom_id) {
  return custom_id.empty() ? "i:" + id_of(position) : "c:" + custom_id;
}

}  // namespace foregate
