// One GPU as the engine's Device. Owned by the Backend that the loader made; allocate and create_stream are safe from
// any thread.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/device.h"
#include "kernels/cuda/library_products.h"
#include "kernels/cuda/module.h"

namespace foregate {

class CudaDevice final : public Device {
 public:
  // False, with *error, when there is no such GPU that the kernels can run on.
  bool open(const GpuOptions& options, std::string* error);
  std::string describe() const override { return name_; }
  Memory allocate(std::size_t bytes) override;
  Memory allocate_pinned(std::size_t bytes) override;
  std::unique_ptr<Stream> create_stream() override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  bool host_visible() const override { return false; }
  std::int64_t free_bytes() const override;
  std::int64_t total_bytes() const override;
  std::unique_ptr<Event> create_event() override;
  std::shared_ptr<PageSource> create_pages(std::string* error) override;
  LibraryFigures library_figures() const override;
  std::string library_missing() const override { return library_missing_; }
  std::string identity() const override;
  std::shared_ptr<Peers> join_peers(const PeersOptions& options, std::string* error) override;
  std::string peers_missing(const std::string& library) const override;
  bool name_peers(PeersOptions& options, std::string* error) override;

 private:
  int ordinal_ = 0;
  std::string name_;
  std::unique_ptr<LibraryProducts> library_;
  std::string library_missing_;
};

}  // namespace foregate
