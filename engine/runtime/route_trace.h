// The trace file of --trace-routes: opened at boot, written by the engine thread while the model runs, ended when the
// engine is gone. A disk that fails ends the trace, not the requests: it is said once.
#pragma once

#include <memory>
#include <string>

#include "engine/base/metrics.h"
#include "engine/base/status.h"
#include "engine/experts/trace_writer.h"

namespace foregate {

class RouteTrace final : public RouteSink {
 public:
  // Replaces `path`. Fails as open_output_directory() and TraceWriter::create() do; kInvalidArgument for a directory.
  // `registry` may be null.
  static Result<std::unique_ptr<RouteTrace>> create(const std::string& path, const TraceInfo& info, Metrics* registry,
                                                    const std::string& model_name);
  ~RouteTrace() override;  // writes the end; says how much there is, or why there is less

  void on_routes(const LayerRoutes& routes) override;
  void on_drafts_stood(std::int64_t step, std::span<const std::uint8_t> stood) override;

 private:
  RouteTrace(std::string path, TraceWriter writer) : path_(std::move(path)), writer_(std::move(writer)) {}
  void fail(const Status& status);

  std::string path_;
  TraceWriter writer_;
  bool failed_ = false;
  Counter* rows_ = nullptr;  // null: no registry
  Counter* bytes_ = nullptr;
  std::uint64_t told_bytes_ = 0;
};

}  // namespace foregate
