// A tokenizer put to use, whatever file it came from.
#pragma once

#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "kernels/api/check.h"

namespace foregate {

// Ids of a text must be ids of the vocabulary; any ids decode to something, whole and in a stream alike.
inline void use_tokenizer(const Tokenizer& tokenizer) {
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode("abc ab  a<|im_end|>\n12 \xE4\xB8\xAD!", {.add_special_tokens = special});
    if (!ids.ok()) continue;
    for (const Token id : ids.value()) CHECK(id >= 0 && id < tokenizer.vocab_size());
  }
  std::vector<Token> ids;
  for (Token id = -1; id < 40; ++id) ids.push_back(id);
  Detokenizer stream(tokenizer, true);
  std::string streamed;
  for (const Token id : ids) streamed += stream.push(id);
  streamed += stream.finish();
  CHECK(streamed == tokenizer.decode(ids, true));
}

}  // namespace foregate
