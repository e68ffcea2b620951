// Experts of a step that the host computes while the rest of it runs on a device: rows come from there, outputs go
// back. Owned by the transformer, one step at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/model/step.h"
#include "kernels/api/device.h"
#include "kernels/api/op_table.h"

namespace foregate {

class HostExperts {
 public:
  // For steps of `max_rows` rows; `memory` is where rows lie on the host, `ops` and `stream` compute there and must
  // outlive this. kResourceExhausted for want of memory.
  static Result<std::unique_ptr<HostExperts>> create(const ModelConfig& config, std::int32_t max_rows, Device& memory,
                                                     const OpTable& ops, Stream& stream);
  // The layer's input, once its routes are known. Waits for the step's stream.
  void bring_input(const Step& step);
  // Outputs of these groups, as run_groups(); their weights are in host memory. They stay here until they are sent.
  void run(const Step& step, std::span<ExpertGroup> groups);
  // Sends what was computed since the last send to the step's expert outputs.
  void send(const Step& step);
  // All experts of the layer were computed here: combines them and sends the block's output.
  void combine(const Step& step);

  double seconds() const { return seconds_; }  // spent in run() so far

 private:
  HostExperts(const OpTable& ops, Stream& stream) : ops_(ops), stream_(stream) {}
  const OpTable& ops_;
  Stream& stream_;
  Memory x_, y_, inner_, out_;
  std::vector<std::int32_t> rows_;  // of y_, computed and not sent
  double seconds_ = 0.0;
};

}  // namespace foregate
