// Writes a trace file (trace.h) step by step while a model runs. Holds one step in memory. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/trace.h"
#include "engine/io/output.h"

namespace foregate {

class TraceWriter final : public RouteSink {
 public:
  // kInvalidArgument when `info` does not fit the format; else as OutputFile fails.
  static Result<TraceWriter> create(std::unique_ptr<OutputFile> file, const TraceInfo& info);

  // A step is written when the next one begins. The first failure is kept, later calls do nothing. Routes that do not
  // fit the header (a layer out of order, spans of wrong length, an expert the layer has not) are a failure too.
  void on_routes(const LayerRoutes& routes) override;
  // Of the step whose routes were told last.
  void on_drafts_stood(std::int64_t step, std::span<const std::uint8_t> stood) override;
  // Writes the last step and the end, cuts what an older file had behind it, syncs; the first failure of all.
  Status finish();

  const Status& status() const { return status_; }  // the first failure so far
  std::int64_t steps() const { return steps_; }
  std::uint64_t bytes() const { return written_; }

 private:
  TraceWriter(std::unique_ptr<OutputFile> file, std::int32_t top_k, std::vector<std::int32_t> experts)
      : file_(std::move(file)), top_k_(top_k), experts_(std::move(experts)) {}
  Status check(const LayerRoutes& routes) const;
  Status begin_step(const LayerRoutes& routes);
  void mark(std::size_t row, std::size_t which);
  Status end_step();
  Status write_frame(std::uint32_t kind, std::span<const std::byte> payload);
  Status append(std::span<const std::byte> bytes);

  std::unique_ptr<OutputFile> file_;
  std::int32_t top_k_;
  std::vector<std::int32_t> experts_;
  Status status_;
  std::uint64_t written_ = 0;
  std::int64_t steps_ = 0;          // written
  std::vector<std::byte> payload_;  // of the step that is being told
  bool open_ = false;               // there is one
  std::int64_t step_ = -1;
  std::int32_t layer_ = -1;
  std::uint32_t layers_ = 0;
  std::size_t rows_ = 0;
};

}  // namespace foregate
