#include "server/files/batch_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "server/batch/batch_line.h"
#include "server/batch/line_source.h"
#include "server/openai/fields.h"

namespace foregate {
namespace {

constexpr std::size_t kMostFaults = 20;

struct FileClose {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileClose>;

Status failed(const std::string& path) {
  const int error = errno;
  const std::string text = path + " cannot be written: " + std::strerror(error);
  return error == ENOSPC || error == EDQUOT ? resource_exhausted(text) : unavailable(text);
}

Status put_line(std::FILE* file, const std::string& line, const std::string& path) {
  const bool whole = std::fwrite(line.data(), 1, line.size(), file) == line.size() && std::fputc('\n', file) != EOF;
  return whole ? Status() : failed(path);
}

Status end_file(File file, const std::string& path) {
  const bool synced = std::fflush(file.get()) == 0 && ::fsync(::fileno(file.get())) == 0;
  return synced ? Status() : failed(path);
}

bool is_success(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("response") || !json["response"].is_object()) return false;
  return json["response"].value("status_code", 0) == 200;
}

// A file as a whole, so that its bytes are not copied into messages: lines are numbered instead.
class InputCheck {
 public:
  InputCheck(std::string endpoint, const InputLimits& limits) : endpoint_(std::move(endpoint)), limits_(limits) {}

  void line(const std::string& text) {
    ++number_;
    if (text.find_first_not_of(" \t") == std::string::npos) return;
    ++checked_.lines;
    if (text.size() > limits_.line_bytes) {
      return fault("line_too_long", "is longer than " + std::to_string(limits_.line_bytes) + " bytes", "");
    }
    std::string custom_id;
    const auto parsed = parse_batch_line(text, 0, &custom_id);
    if (!parsed.ok()) return fault("invalid_request", parsed.status().message(), parsed.status().field());
    if (parsed->url != endpoint_) return fault("mismatched_endpoint", "url is not the endpoint of the batch", "url");
    if (!ids_.insert(custom_id).second)
      return fault("duplicate_custom_id", "custom_id is that of an earlier line", "custom_id");
  }
  void unreadable(const std::string& message) { fault("invalid_request", message, ""); }
  bool full() const { return checked_.faults.size() >= kMostFaults || checked_.lines > limits_.lines; }

  CheckedInput take() {
    if (checked_.lines > limits_.lines) {
      checked_.faults = {
          {"too_many_lines", "the file has more than " + std::to_string(limits_.lines) + " requests", "", 0}};
    } else if (checked_.lines == 0 && checked_.faults.empty()) {
      checked_.faults = {{"empty_file", "the file holds no request", "", 0}};
    }
    return std::move(checked_);
  }

 private:
  void fault(const char* code, const std::string& message, const std::string& param) {
    checked_.faults.push_back({code, message, param, number_});
  }

  const std::string endpoint_;
  const InputLimits limits_;
  CheckedInput checked_;
  std::unordered_set<std::string> ids_;
  std::uint64_t number_ = 0;
};

}  // namespace

CheckedInput check_batch_input(const std::string& path, const std::string& endpoint, const InputLimits& limits) {
  InputCheck check(endpoint, limits);
  LineSource source({path});
  while (!check.full()) {
    auto line = source.next();
    if (line.ok() && !line->has_value()) break;
    if (line.ok()) {
      check.line(**line);
      continue;
    }
    check.unreadable(line.status().code() == Code::kInvalidArgument ? "a line is too long" : "the file cannot be read");
    break;
  }
  return check.take();
}

Result<PartedOutput> part_answers(const std::string& answers, const std::string& output, const std::string& errors) {
  std::ifstream in(answers);
  File good(std::fopen(output.c_str(), "we")), bad(std::fopen(errors.c_str(), "we"));
  if (!in) return data_loss("the answers of the batch are gone");
  if (!good || !bad) return failed(!good ? output : errors);
  PartedOutput parted;
  for (std::string line; std::getline(in, line);) {
    const bool success = is_success(line);
    RETURN_IF_ERROR(put_line(success ? good.get() : bad.get(), line, success ? output : errors));
    (success ? parted.succeeded : parted.failed) += 1;
    (success ? parted.output_bytes : parted.error_bytes) += line.size() + 1;
  }
  if (in.bad()) return data_loss("the answers of the batch cannot be read");
  RETURN_IF_ERROR(end_file(std::move(good), output));
  RETURN_IF_ERROR(end_file(std::move(bad), errors));
  return parted;
}

}  // namespace foregate
