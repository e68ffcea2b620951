// Reads units of packed weights where they belong: several requests of one piece in flight, each checked by the thread
// that read it. Loading, verifying and resuming a pack all read through here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/weights/packed_model.h"

namespace foregate {

struct UnitRead {
  const File* file = nullptr;
  const PackedUnit* unit = nullptr;
  std::byte* to = nullptr;  // unit->bytes, best at a multiple of kDirectPage; null: read, check and forget
};

struct UnitReadOptions {
  int requests = 4;    // in flight at a time, each from a thread of its own; at least 1
  bool verify = true;  // compare checksums
};

// Bytes read so far and in all; called on the thread that called read_units().
using ReadProgress = std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)>;

// The first fault: kDataLoss for a checksum that differs (file, unit and offset named), else as File::read() fails.
// With `each`, reading goes on after a fault and `each` gets the status of every read.
Status read_units(std::span<const UnitRead> reads, const UnitReadOptions& options, const ReadProgress& progress,
                  std::vector<Status>* each = nullptr);

// Reads and checks a whole model, keeps nothing. `each` as above, by unit.
Status verify_packed(const PackedModel& model, const ReadProgress& progress, std::vector<Status>* each = nullptr);

}  // namespace foregate
