#include "server/ops/span_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <type_traits>

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kQueue = 4096;
constexpr int kServerKind = 2, kError = 2;

std::string random_hex(std::size_t digits) {
  static const char* kHex = "0123456789abcdef";
  thread_local std::mt19937_64 random{std::random_device{}()};
  std::string text;
  while (text.size() < digits) {
    std::uint64_t word = random() | 1;  // no id is all zeros
    for (int i = 0; i < 16 && text.size() < digits; ++i, word >>= 4) text += kHex[word & 15];
  }
  return text;
}

Json attribute(const std::string& key, const Span::Value& value) {
  Json json = {{"key", key}};
  std::visit(
      [&](const auto& held) {
        using T = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<T, std::string>) json["value"] = {{"stringValue", held}};
        if constexpr (std::is_same_v<T, std::int64_t>) json["value"] = {{"intValue", std::to_string(held)}};
        if constexpr (std::is_same_v<T, double>) json["value"] = {{"doubleValue", held}};
      },
      value);
  return json;
}

}  // namespace

std::string span_line(const Span& span, const std::string& version) {
  Json json = Json::object();
  json["traceId"] = span.parent.trace_id.empty() ? random_hex(32) : span.parent.trace_id;
  json["spanId"] = random_hex(16);
  if (!span.parent.parent_id.empty()) json["parentSpanId"] = span.parent.parent_id;
  json["name"] = span.name;
  json["kind"] = kServerKind;
  json["startTimeUnixNano"] = std::to_string(span.begin_ns);
  json["endTimeUnixNano"] = std::to_string(span.end_ns);
  json["attributes"] = Json::array();
  for (const auto& [key, value] : span.attributes) json["attributes"].push_back(attribute(key, value));
  json["status"] = Json::object();
  if (!span.error.empty()) json["status"] = {{"code", kError}, {"message", span.error}};
  Json scope = {{"scope", {{"name", "foregate"}, {"version", version}}}};
  scope["spans"] = Json::array({std::move(json)});
  Json resource = Json::object();
  resource["resource"]["attributes"] = Json::array({attribute("service.name", std::string("foregate"))});
  resource["scopeSpans"] = Json::array({std::move(scope)});
  Json line = Json::object();
  line["resourceSpans"] = Json::array({std::move(resource)});
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

SpanFile::SpanFile(int fd, std::string version, Metrics& metrics)
    : fd_(fd),
      version_(std::move(version)),
      written_(metrics.counter("foregate_spans_written", "Spans in the file of --span-file")),
      dropped_(metrics.counter("foregate_spans_dropped", "Spans that could not be written, or not soon enough")),
      writer_(1, kQueue) {}

SpanFile::~SpanFile() {
  writer_.finish();
  ::close(fd_);
}

Result<std::unique_ptr<SpanFile>> SpanFile::open(const std::string& path, std::string version, Metrics& metrics) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  if (fd < 0) return invalid_argument("--span-file: " + path + ": " + std::strerror(errno), "--span-file");
  return std::unique_ptr<SpanFile>(new SpanFile(fd, std::move(version), metrics));
}

void SpanFile::write(Span span) {
  const bool taken = writer_.submit([this, span = std::move(span)] { append(span); });
  if (!taken) dropped_.add();
}

// One call for a line: lines of several processes do not mix.
void SpanFile::append(const Span& span) {
  const std::string line = span_line(span, version_) + "\n";
  ssize_t put = 0;
  do put = ::write(fd_, line.data(), line.size());
  while (put < 0 && errno == EINTR);
  (put == static_cast<ssize_t>(line.size()) ? written_ : dropped_).add();
}

}  // namespace foregate
