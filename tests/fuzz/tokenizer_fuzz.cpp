#include "engine/text/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/use_tokenizer.h"

int fuzz_tokenizer(std::string_view bytes) {
  using namespace foregate;
  auto tokenizer = load_tokenizer(OneFile("tokenizer.json", bytes), "tokenizer.json");
  if (!tokenizer.ok()) return 0;
  use_tokenizer(**tokenizer);
  return 1;
}
