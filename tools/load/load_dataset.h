// What is asked: made of words by a seed, read from a file, or shaped as a trace says. Pure: the caller reads files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "tools/load/load_types.h"

namespace foregate {

// Lengths of made prompts are in words, which most tokenizers make one or two tokens of; results give the tokens that
// the server counted.
struct DatasetOptions {
  bool chat = false;  // messages instead of a prompt
  std::size_t count = 100;
  int input_words = 128;
  int output_tokens =
      64;                 // of files: where a line says none; 0: as long as the recorded answer, or as the server likes
  double range = 0;       // random: lengths lie within so large a part of the above, 0..1
  int prefixes = 4;       // prefix_repetition: so many different beginnings
  int prefix_words = 96;  // of each, before input_words of its own
  std::uint64_t seed = 0;
};

inline constexpr int kMostLength = 1 << 20;  // words or tokens of one prompt or answer

std::vector<LoadRequest> random_requests(const DatasetOptions& options);
// The prefixes take turns; what follows them differs.
std::vector<LoadRequest> repeated_prefixes(const DatasetOptions& options);
// Lines of JSON with `prompt` or `messages`, and `max_tokens` or `output_tokens` where it is said. Begins again when it
// has fewer lines than `count`. Errors name the line.
Result<std::vector<LoadRequest>> requests_of_file(std::string_view text, const DatasetOptions& options);
// ShareGPT's JSON: the first turn of each conversation that was answered, in an order of the seed. Without
// output_tokens an answer is to have 4/3 tokens for each word of the recorded one. Begins again as above.
Result<std::vector<LoadRequest>> requests_of_sharegpt(std::string_view text, const DatasetOptions& options);
// Azure's CSV (TIMESTAMP, ContextTokens, GeneratedTokens) or Mooncake's lines (timestamp in ms, input_length,
// output_length, hash_ids: equal ids are equal parts of prompts). At most `count` of them, times from the first.
Result<std::vector<LoadRequest>> requests_of_trace(std::string_view text, const DatasetOptions& options);

}  // namespace foregate
