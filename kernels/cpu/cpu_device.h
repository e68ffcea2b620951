// The CPU as a device: host memory and one thread pool shared by its streams.
// Owned by the Backend that made it; allocate and create_stream are safe from any thread.
#pragma once

#include "kernels/cpu/cpu_stream.h"

namespace foregate {

class CpuDevice final : public Device {
 public:
  CpuDevice(std::string isa, int threads);  // isa only for describe()
  std::string describe() const override;
  Memory allocate(std::size_t bytes) override;
  std::unique_ptr<Stream> create_stream() override;
  int threads() const { return pool_.threads(); }

 private:
  std::string isa_;
  ThreadPool pool_;
};

// Zero-filled, 64-byte aligned; from 2 MiB on aligned to 2 MiB with huge pages asked for.
// Empty when bytes is 0 or memory is out.
Memory allocate_host(std::size_t bytes);

}  // namespace foregate
