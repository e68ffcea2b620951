// Spans as lines of OTLP JSON (opentelemetry-proto, ExportTraceServiceRequest), which collectors read from files. A
// thread of its own writes; what it cannot keep up with is dropped and counted. Any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/base/metrics.h"
#include "engine/base/status.h"
#include "server/ops/trace_parent.h"
#include "server/ops/worker_pool.h"

namespace foregate {

struct Span {
  std::string name;
  TraceParent parent;         // none: a trace of its own begins
  std::int64_t begin_ns = 0;  // Unix time
  std::int64_t end_ns = 0;
  std::string error;  // empty: it succeeded
  using Value = std::variant<std::string, std::int64_t, double>;
  std::vector<std::pair<std::string, Value>> attributes;
};

// One line, without its end. Ids that the span needs are drawn.
std::string span_line(const Span& span, const std::string& version);

class SpanFile {
 public:
  // Appends to `path`. kInvalidArgument names --span-file.
  static Result<std::unique_ptr<SpanFile>> open(const std::string& path, std::string version, Metrics& metrics);
  ~SpanFile();
  void write(Span span);

 private:
  SpanFile(int fd, std::string version, Metrics& metrics);
  void append(const Span& span);

  int fd_;
  const std::string version_;
  Counter& written_;
  Counter& dropped_;
  WorkerPool writer_;  // last: its thread ends before the file is closed
};

}  // namespace foregate
