// What libFuzzer and the unit tests run alike: bytes from outside go through one part of the program, as far as they
// get. Whatever they are, a target returns; a fault ends the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// How far the bytes came: 0 when the first check refused them, more for each stage after it.
using FuzzRun = int (*)(std::string_view bytes);

struct FuzzTarget {
  const char* name;  // of its corpus too, tests/fuzz/corpus/<name>
  FuzzRun run;
  int stages;          // the largest number that it returns
  std::size_t header;  // where mutations are made: the first so many bytes; 0: anywhere
};

const std::vector<FuzzTarget>& fuzz_targets();

int fuzz_gguf(std::string_view bytes);         // a GGUF file: 1 header, 2 model, 3 plan of its weights
int fuzz_safetensors(std::string_view bytes);  // a safetensors file: 1 header
int fuzz_request(std::string_view bytes);      // which API, then a body: 1 accepted
int fuzz_http(std::string_view bytes);         // how it is cut, then what a client sends: 1 header, 2 whole request
int fuzz_template(std::string_view bytes);     // a chat template: 1 compiled, 2 rendered
int fuzz_tokenizer(std::string_view bytes);    // tokenizer.json: 1 loaded
int fuzz_grammar(std::string_view bytes);      // kind, then a form of the output: 1 compiled, 2 a text drawn to its end
int fuzz_frames(std::string_view bytes);       // what a rank sends: 1 header, 2 body
