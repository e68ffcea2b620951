// Non-owning view of a row-major matrix: pointer, shape, row stride in elements.
#pragma once

#include <cstdint>

namespace foregate {

template <class T>
struct View2 {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  // elements from one row to the next, >= cols
};

}  // namespace foregate
