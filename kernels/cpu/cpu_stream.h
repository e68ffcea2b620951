// The CPU's stream: ops run at once on the pool it refers to, and it keeps their work memory.
// One stream per calling thread; the device outlives its streams. This header is included by code
// built for every ISA, so nothing here is defined inline.
#pragma once

#include "kernels/api/device.h"
#include "kernels/cpu/thread_pool.h"

namespace foregate {

class CpuStream final : public Stream {
 public:
  explicit CpuStream(ThreadPool& pool);
  ~CpuStream() override;
  void synchronize() override;

  ThreadPool& pool();

  // Work memory of the op in progress, 64-byte aligned, contents unspecified, valid until the next
  // reserve: `shared_bytes` once and `worker_bytes` for each worker. Ends the process when memory is out.
  struct Scratch {
    std::byte* shared = nullptr;
    std::byte* workers = nullptr;
    std::int64_t worker_stride = 0;
  };
  Scratch reserve(std::int64_t shared_bytes, std::int64_t worker_bytes);

  // Every op of a CPU table signs here with the table's name, so that a test can tell which ran.
  void note(const char* table_name);
  const char* last_table() const;

 private:
  ThreadPool& pool_;
  Memory shared_;
  Memory workers_;
  const char* last_table_ = "";
};

}  // namespace foregate
