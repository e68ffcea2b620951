// Logits of some tokens alone, for a model that drafts: its head is a large part of what it reads, and most of what it
// says are few tokens (FR-Spec, arXiv 2502.14856; EAGLE-3's draft_vocab_size).
#pragma once

#include <span>

#include "engine/base/status.h"
#include "engine/model/transformer.h"

namespace foregate {

// From now on row i of a logits row is tokens[i]; `tokens` are different ids of the vocabulary, one at least. The rows
// are packed anew, in q8_0 with `quantize` or where their own format has blocks, and take memory of their own.
// kUnimplemented where the host does not see the device's memory, kResourceExhausted when there is too little.
Status cut_head(Transformer& model, std::span<const Token> tokens, bool quantize);

}  // namespace foregate
