// Lets a test program take all of its `operator new` memory from memory that host and GPU share, so that the case list
// of the CPU tests, whose arrays are plain vectors, runs on a GPU as it is.
#pragma once

#include <cstddef>

namespace foregate::testing {

// From here on, in all threads. `memory` is never given back.
void take_new_from(void* memory, std::size_t bytes);

}  // namespace foregate::testing
