// Memory whose parts go back to the system and are taken again while the rest is in use: for what shares one budget and
// changes its share. Whole pages, of a size that the backend says. One owner, one thread.
#pragma once

#include <cstddef>

#include "kernels/api/device.h"

namespace foregate {

class PageSource {
 public:
  virtual ~PageSource() = default;
  virtual std::size_t page_bytes() const = 0;
  // Addresses for `pieces` pieces of `piece_bytes` each, in all a multiple of page_bytes(), beginning at one. Memory is
  // taken when it is first written to and reads as zeros before; of a piece that is given back whole it may be taken in
  // larger parts, never beyond the piece. Empty when there are not so many addresses.
  virtual Memory reserve(std::size_t pieces, std::size_t piece_bytes) = 0;
  // Takes memory for `bytes` from `data` on, whole pages that have none, before anything touches them; they read as
  // zeros. False, with nothing taken, when there is none left. Where a first write takes it by itself, nothing.
  virtual bool take(std::byte* data, std::size_t bytes) {
    static_cast<void>(data), static_cast<void>(bytes);
    return true;
  }
  // Sets so many bytes aside, whole pages of them, which take() and give_back() move about: nobody else gets them, and
  // there are never more. False when they are not there. Likewise nothing.
  virtual bool hold(std::size_t bytes) {
    static_cast<void>(bytes);
    return true;
  }
  // `bytes` of such memory, whole pages: the system has them back, and they read as zeros again.
  virtual void give_back(std::byte* data, std::size_t bytes) = 0;
};

}  // namespace foregate
