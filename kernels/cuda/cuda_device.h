// One GPU as the engine's Device. Owned by the Backend that the loader made; allocate and create_stream are safe from
// any thread.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/device.h"

namespace foregate {

class CudaDevice final : public Device {
 public:
  // False, with *error, when there is no GPU `ordinal` that the kernels can run on.
  bool open(int ordinal, std::string* error);
  std::string describe() const override { return name_; }
  Memory allocate(std::size_t bytes) override;
  Memory allocate_pinned(std::size_t bytes) override;
  std::unique_ptr<Stream> create_stream() override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  bool host_visible() const override { return false; }
  std::int64_t free_bytes() const override;
  std::int64_t total_bytes() const override;
  std::unique_ptr<Event> create_event() override;

 private:
  std::string name_;
};

}  // namespace foregate
