// What libFuzzer calls; FOREGATE_FUZZ names the target.
#include "engine/base/log.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  foregate::set_log_level(foregate::LogLevel::kError);
  FOREGATE_FUZZ(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
