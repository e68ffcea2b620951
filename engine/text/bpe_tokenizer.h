// A tokenizer put together from parts: normalizer, pre-tokenizer, BPE model, decoder, added tokens. Where the parts
// come from (tokenizer.json, GGUF metadata) is not known here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/bpe.h"
#include "engine/text/normalizer.h"
#include "engine/text/pre_tokenizer.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tokenizer_added.h"
#include "engine/text/tokenizer_decoder.h"

namespace foregate::tok {

// What TemplateProcessing puts around a text.
struct Template {
  std::vector<Token> before, after;
};

struct TokenizerParts {
  std::unique_ptr<Normalizer> normalizer;       // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null
  std::vector<Template> templates;
  DecodeChain decoder;
  std::unique_ptr<Bpe> model;
};

// kDataLoss when an added token or a template does not fit the vocabulary.
Result<std::unique_ptr<Tokenizer>> make_bpe_tokenizer(TokenizerParts parts, std::vector<AddedToken> added);

}  // namespace foregate::tok
