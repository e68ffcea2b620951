// The pre-tokenizers that a GGUF file names in tokenizer.ggml.pre, as data.
#pragma once

#include <span>
#include <string_view>

namespace foregate::tok {

struct GgufPreTokenizer {
  std::string_view name;
  std::span<const std::string_view> patterns;  // one split after another, matches isolated
  bool nfc = false;                            // the text is brought to NFC first
  bool ignore_merges = false;                  // a piece that is a token needs no merges
  bool add_bos = false;                        // unless tokenizer.ggml.add_bos_token says otherwise
};

std::span<const GgufPreTokenizer> all_gguf_pre_tokenizers();

// Null when not known.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

}  // namespace foregate::tok
