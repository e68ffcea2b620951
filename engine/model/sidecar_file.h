// Small files that a run leaves beside a packed model for the next one.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "engine/base/status.h"

namespace foregate {

// Writes `name` in `dir` whole, or leaves what is there: a copy takes its name when it is on the disk. Fails as writes
// do, and kUnavailable while another process writes to the directory.
Status write_sidecar(const std::string& dir, const std::string& name, std::span<const std::byte> bytes);

}  // namespace foregate
