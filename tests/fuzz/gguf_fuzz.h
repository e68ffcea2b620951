// One run of the GGUF fuzz target, as libFuzzer and the unit tests call it.
#pragma once

#include <cstddef>
#include <cstdint>

// Takes the bytes for a GGUF file: opens the model, plans its weights, makes tokenizer and template and uses them.
// Whatever the bytes are, it returns 0; a fault ends the program. How far runs came is counted in gguf_fuzz_counts().
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

struct GgufFuzzCounts {
  long runs = 0;
  long headers = 0;     // the header was good
  long models = 0;      // configuration and tensors fit one another
  long plans = 0;       // every weight has its place
  long tokenizers = 0;  // text was encoded and decoded
};
const GgufFuzzCounts& gguf_fuzz_counts();
