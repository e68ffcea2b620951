#include "tests/fuzz/fuzz_target.h"

const std::vector<FuzzTarget>& fuzz_targets() {
  static const std::vector<FuzzTarget> kTargets = {
      {"gguf", fuzz_gguf, 3, 3000},      {"safetensors", fuzz_safetensors, 1, 0},
      {"request", fuzz_request, 1, 0},   {"http", fuzz_http, 2, 0},
      {"template", fuzz_template, 2, 0}, {"tokenizer", fuzz_tokenizer, 1, 0},
      {"grammar", fuzz_grammar, 2, 0},   {"frames", fuzz_frames, 2, 0}};
  return kTargets;
}
