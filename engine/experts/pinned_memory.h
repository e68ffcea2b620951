// Memory of the host that a GPU copies from and to at full speed, as a Device for whoever only allocates; plain memory
// of the host where pinning is refused. Loading thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kernels/api/device.h"

namespace foregate {

class PinnedMemory final : public Device {
 public:
  PinnedMemory(Device& gpu, Device& host) : gpu_(gpu), host_(host) {}
  std::string describe() const override { return host_.describe(); }
  Memory allocate(std::size_t bytes) override {
    Memory memory = gpu_.allocate_pinned(bytes);
    if (memory || bytes == 0) return memory;
    refused_bytes_ += bytes;
    return host_.allocate(bytes);
  }
  std::unique_ptr<Stream> create_stream() override { return host_.create_stream(); }
  std::uint64_t refused_bytes() const { return refused_bytes_; }  // of allocations so far, not pinned

 private:
  Device& gpu_;
  Device& host_;
  std::uint64_t refused_bytes_ = 0;
};

}  // namespace foregate
