#include "engine/runtime/route_trace.h"

#include <filesystem>
#include <utility>

#include "engine/base/log.h"

namespace foregate {

Result<std::unique_ptr<RouteTrace>> RouteTrace::create(const std::string& path, const TraceInfo& info,
                                                       Metrics* registry, const std::string& model_name) {
  const std::filesystem::path file(path);
  std::error_code ignored;
  if (!file.has_filename() || std::filesystem::is_directory(file, ignored)) {
    return invalid_argument(path + " is not the name of a file", "trace_routes");
  }
  // The directory is held only while the file is opened: it may be the model's own, where counters are saved.
  ASSIGN_OR_RETURN(const auto directory,
                   open_output_directory(file.has_parent_path() ? file.parent_path().string() : "."));
  ASSIGN_OR_RETURN(auto output, directory->open(file.filename().string()));
  RETURN_IF_ERROR(output->resize(0));
  ASSIGN_OR_RETURN(TraceWriter writer, TraceWriter::create(std::move(output), info));
  std::unique_ptr<RouteTrace> trace(new RouteTrace(path, std::move(writer)));
  if (registry == nullptr) return trace;
  const Labels labels = {{"model_name", model_name}};
  trace->rows_ = &registry->counter("moe_traced_rows", "Rows of MoE layers whose routing was traced.", labels);
  trace->bytes_ = &registry->counter("moe_trace_bytes", "Bytes written to the trace of routing.", labels);
  return trace;
}

RouteTrace::~RouteTrace() {
  if (failed_) return;
  if (const Status status = writer_.finish(); !status.ok()) {
    fail(status);
    return;
  }
  log_info("routes of " + std::to_string(writer_.steps()) + " steps are in " + path_ + ", " +
           std::to_string(writer_.bytes()) + " bytes");
}

void RouteTrace::fail(const Status& status) {
  failed_ = true;
  log_error("the trace of routes ends after " + std::to_string(writer_.steps()) + " steps: " + status.to_string());
}

void RouteTrace::on_drafts_stood(std::int64_t step, std::span<const std::uint8_t> stood) {
  if (!failed_) writer_.on_drafts_stood(step, stood);
}

void RouteTrace::on_routes(const LayerRoutes& routes) {
  if (failed_) return;
  writer_.on_routes(routes);
  if (!writer_.status().ok()) return fail(writer_.status());
  if (rows_ == nullptr) return;
  rows_->add(static_cast<double>(routes.requests.size()));
  bytes_->add(static_cast<double>(writer_.bytes() - std::exchange(told_bytes_, writer_.bytes())));
}

}  // namespace foregate
