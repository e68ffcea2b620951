#include "server/generate/request_report.h"

#include <chrono>

namespace foregate {
namespace {

double ms_between(TimeNs from, TimeNs to) {
  return static_cast<double>(to - from) * 1e-6;
}

double seconds_or_zero(TimeNs from, TimeNs to) {
  return to == 0 ? 0.0 : seconds_between(from, to);
}

}  // namespace

LogFields request_fields(const GenerationEnd& end) {
  LogFields fields;
  if (!end.id.empty()) fields.emplace_back("id", end.id);
  if (!end.trace.trace_id.empty()) fields.emplace_back("trace_id", end.trace.trace_id);
  if (end.client != 0) fields.emplace_back("client", static_cast<std::int64_t>(end.client));
  fields.emplace_back("status", end.status.ok() ? "ok" : code_name(end.status.code()));
  if (!end.finishes.empty()) fields.emplace_back("finish", end.finishes);
  fields.emplace_back("prompt_tokens", end.usage.prompt_tokens);
  fields.emplace_back("cached_tokens", end.usage.cached_tokens);
  fields.emplace_back("completion_tokens", end.usage.completion_tokens);
  if (end.first_token != 0) fields.emplace_back("first_token_ms", ms_between(end.arrival, end.first_token));
  fields.emplace_back("total_ms", ms_between(end.arrival, end.ended));
  return fields;
}

// Attributes as vLLM names them.
Span request_span(const GenerationEnd& end, std::int64_t wall_ns) {
  Span span;
  span.name = "llm_request";
  span.parent = end.trace;
  span.end_ns = wall_ns;
  span.begin_ns = wall_ns - (end.ended - end.arrival);
  if (!end.status.ok()) span.error = end.status.message();
  const SamplingParams& sampling = end.request.sampling;
  span.attributes = {{"gen_ai.request.id", end.id},
                     {"gen_ai.request.n", std::int64_t{end.request.n}},
                     {"gen_ai.request.max_tokens", std::int64_t{sampling.max_tokens}},
                     {"gen_ai.request.temperature", static_cast<double>(sampling.temperature)},
                     {"gen_ai.request.top_p", static_cast<double>(sampling.top_p)},
                     {"gen_ai.response.finish_reasons", end.finishes},
                     {"gen_ai.usage.prompt_tokens", end.usage.prompt_tokens},
                     {"gen_ai.usage.cached_tokens", end.usage.cached_tokens},
                     {"gen_ai.usage.completion_tokens", end.usage.completion_tokens},
                     {"gen_ai.latency.time_to_first_token", seconds_or_zero(end.arrival, end.first_token)},
                     {"gen_ai.latency.e2e", seconds_between(end.arrival, end.ended)}};
  return span;
}

void RequestReport::tell(const GenerationEnd& end) const {
  if (log_) log_fields(LogLevel::kInfo, "request ended", request_fields(end));
  if (spans_ == nullptr) return;
  using namespace std::chrono;
  const auto now = duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
  spans_->write(request_span(end, now));
}

}  // namespace foregate
