// Pre-tokenizers of tokenizer.json: split a text into the pieces that BPE works on, and respell
// them where asked (ByteLevel, Metaspace). Immutable; safe to share.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/tokenizer_regex.h"

namespace foregate::tok {

struct Piece {
  std::size_t begin, end;  // bytes of PieceText::text
  bool first;              // begins where the whole input begins
};

struct PieceText {
  std::string text;
  std::vector<Piece> pieces;  // ascending, none empty
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  virtual Status apply(PieceText* pieces) const = 0;
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class PrependScheme { kFirst, kNever, kAlways };

std::unique_ptr<PreTokenizer> make_split(Regex pattern, SplitBehavior behavior, bool invert);
// `gpt2_pattern` null: the text is not split.
std::unique_ptr<PreTokenizer> make_byte_level(bool add_prefix_space, std::unique_ptr<PreTokenizer> gpt2_pattern);
std::unique_ptr<PreTokenizer> make_metaspace(std::string replacement, PrependScheme scheme, bool split);
std::unique_ptr<PreTokenizer> make_pre_tokenizer_sequence(std::vector<std::unique_ptr<PreTokenizer>> steps);

}  // namespace foregate::tok
