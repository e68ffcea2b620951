// Pages of the host's memory.
#pragma once

#include "kernels/api/page_source.h"

namespace foregate {

class HostPages final : public PageSource {
 public:
  HostPages();
  std::size_t page_bytes() const override { return page_bytes_; }
  Memory reserve(std::size_t pieces, std::size_t piece_bytes) override;
  void give_back(std::byte* data, std::size_t bytes) override;

 private:
  std::size_t page_bytes_;
};

}  // namespace foregate
