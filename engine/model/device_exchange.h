// Rows of an exchange where rank 0's device has a memory of its own: those that go out are gathered there, outputs land
// side by side in the order in which they were asked for, and one gather puts them where the combination reads them.
// Nothing here knows how rows travel. Owned by MoeExchange.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/model/step.h"
#include "kernels/api/device.h"

namespace foregate {

class DeviceExchange {
 public:
  // Bytes of device memory for steps of so many rows.
  static std::int64_t bytes_for(const ModelConfig& config, std::int32_t max_rows, std::int32_t ranks);
  // kResourceExhausted without them. The device must outlive the result.
  static Result<std::unique_ptr<DeviceExchange>> create(const ModelConfig& config, std::int32_t max_rows,
                                                        std::int32_t ranks, Device& device);

  // A layer begins. What was sent before has arrived, and the stream has been waited for.
  void begin();
  // Rows of the step's input that go to one rank; where they will lie, once gather() was called: [rows, hidden].
  const float* add(std::span<const std::int32_t> rows);
  void gather(const Step& step);
  // The same rows in host memory, until the next call.
  const std::byte* bring(const Step& step);
  std::size_t offset_of(const float* rows) const;  // in bytes, of what add() gave

  // Room for outputs that belong to these rows of scratch.expert_out: [rows, hidden].
  float* place(std::span<const std::int32_t> out_rows);
  // The experts of this rank.
  void run(const Step& step, std::span<ExpertGroup> groups);
  // All outputs to scratch.expert_out, once they are there.
  void finish(const Step& step);

 private:
  explicit DeviceExchange(std::int64_t hidden) : hidden_(hidden) {}
  float* floats(const Memory& memory) const { return reinterpret_cast<float*>(memory.data()); }

  const std::int64_t hidden_;
  Memory sent_;     // [rows that go, hidden]
  Memory outputs_;  // [assignments, hidden]
  std::vector<std::int32_t> sent_rows_;
  std::vector<std::int32_t> at_;        // by row of expert_out: its place in outputs_
  std::vector<std::int32_t> identity_;  // [assignments]
  std::int32_t placed_ = 0;
  std::vector<std::byte> brought_;
};

}  // namespace foregate
