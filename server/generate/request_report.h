// Tells of a generation that ended: one line in the log, and a span. Neither holds a word of a prompt or an answer.
// Loop thread only.
#pragma once

#include "engine/base/log_fields.h"
#include "server/generate/generation.h"
#include "server/ops/span_file.h"

namespace foregate {

LogFields request_fields(const GenerationEnd& end);
// `wall_ns`: Unix time of end.ended.
Span request_span(const GenerationEnd& end, std::int64_t wall_ns);

class RequestReport {
 public:
  RequestReport(bool log, SpanFile* spans) : log_(log), spans_(spans) {}  // null: no spans
  void tell(const GenerationEnd& end) const;

 private:
  bool log_;
  SpanFile* spans_;
};

}  // namespace foregate
