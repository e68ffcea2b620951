// Bounds of everything in this folder: a grammar from a client costs no more than these, whatever it says. Counted in
// steps rather than in seconds, so that the same grammar is taken or refused on every machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/api/limits.h"

namespace foregate::grammar {

struct GrammarLimits {
  std::size_t source_bytes = kMaxFormBytes;
  std::size_t depth = kMaxFormDepth;          // nesting: parentheses, schemas within schemas
  std::size_t exprs = 400'000;                // of the grammar as written
  std::size_t nodes = 150'000;                // of the automaton
  std::size_t set_elements = 1u << 20;        // of sets of states that become nodes, for one rule
  std::uint64_t build_steps = 24'000'000;     // of building it
  std::uint64_t prepare_visits = 24'000'000;  // trie nodes looked at when tokens are classified ahead of use,
  std::uint64_t prepare_walks = 64;           // and all of the trie so many times: a small one is soon looked at later
  std::size_t items = 4096;                   // ways of reading the same bytes that are followed at once
  std::size_t states = 1u << 15;              // distinct situations that are remembered
  std::size_t stacks = 1u << 18;              // distinct nestings that are remembered
  std::size_t mask_bytes = 2u << 20;          // remembered masks
  std::size_t classified_bytes = 32u << 20;   // remembered classes of tokens
};

}  // namespace foregate::grammar
