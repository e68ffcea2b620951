#include "engine/weights/safetensors_header.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/memory_file.h"

int fuzz_safetensors(std::string_view bytes) {
  using namespace foregate;
  auto entries = read_safetensors_header(BytesFile(bytes));
  if (!entries.ok()) return 0;
  std::uint64_t covered = 0;
  for (const TensorEntry& entry : *entries) {
    CHECK(entry.offset <= bytes.size() && entry.bytes <= bytes.size() - entry.offset);
    for (const std::int64_t dim : entry.shape) CHECK(dim >= 0);
    covered += entry.bytes;
  }
  CHECK(covered <= bytes.size());  // no overlap
  return 1;
}
