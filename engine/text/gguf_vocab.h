// What the tokenizer.ggml.* metadata of a GGUF file says, as a plain struct, and the tokenizer made of it.
// Format: github.com/ggml-org/ggml, docs/gguf.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/api/types.h"
#include "engine/base/status.h"
#include "engine/text/tokenizer.h"

namespace foregate {

enum class GgufTokenType : std::uint8_t {
  kUndefined,
  kNormal,
  kUnknown,
  kControl,
  kUserDefined,
  kUnused,
  kByte,
};

// tokens are indexed by id; an empty one is a hole.
struct GgufVocab {
  std::string model;  // "gpt2": byte-level BPE; "llama": SentencePiece BPE
  std::string pre;    // of gpt2: the name of the pre-tokenizer; empty when the file has none
  std::vector<std::string> tokens;
  std::vector<float> scores;         // of llama: one per token
  std::vector<GgufTokenType> types;  // one per token, or empty: all are normal
  std::vector<std::string> merges;   // of gpt2: "left right" in order of rank
  Token bos = -1, eos = -1, unknown = -1, padding = -1;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
};

// Gives the ids of the tokenizer.json that the file was made from. kUnimplemented names a tokenizer model or
// pre-tokenizer that is not known; kDataLoss the key that does not fit the others.
Result<std::unique_ptr<Tokenizer>> make_gguf_tokenizer(GgufVocab vocab);

}  // namespace foregate
