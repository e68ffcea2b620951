// From what a client asks of the form of its answer to a TokenConstraint. A worker's work; thread-safe. Grammars that
// were compiled are kept, the ones used last, within a bound of memory.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "engine/api/constraint.h"
#include "engine/base/metrics.h"
#include "engine/base/status.h"
#include "engine/grammar/compiled_grammar.h"
#include "engine/grammar/free_text.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/token_trie.h"

namespace foregate {

struct GrammarSpec {
  enum class Kind { kJsonObject, kJsonSchema, kRegex, kChoice, kGbnf, kToolCalls };
  Kind kind = Kind::kJsonObject;
  std::string text;  // the schema, a list of strings or the calls (tool_calls.h) as JSON, the pattern, the grammar
  grammar::FreeStart before = {};
  std::string calls = {};  // calls of tools that may be made instead, as of kToolCalls; empty: none
};

struct CompilerFigures {
  std::uint64_t compiles = 0;
  std::uint64_t failures = 0;
  std::uint64_t cache_hits = 0;
  double compile_seconds = 0;
  std::uint64_t masks_computed = 0;
  std::uint64_t masks_reused = 0;
  std::size_t cached = 0;
  std::size_t cached_bytes = 0;
};

class GrammarCompiler {
 public:
  static constexpr std::size_t kCacheBytes = 128u << 20;
  static constexpr std::size_t kCacheEntries = 256;

  // `vocabulary`: special tokens have no bytes.
  explicit GrammarCompiler(grammar::Vocabulary vocabulary, grammar::GrammarLimits limits = {},
                           std::size_t cache_bytes = kCacheBytes);
  // The Status says what is wrong with the text and begins in the middle of a sentence: "is left-recursive: ...".
  Result<std::shared_ptr<const TokenConstraint>> compile(const GrammarSpec& spec);
  CompilerFigures figures() const;

 private:
  using Entry = std::pair<std::string, std::shared_ptr<const grammar::CompiledGrammar>>;
  std::shared_ptr<const TokenConstraint> cached(const std::string& key);
  void keep(std::string key, std::shared_ptr<const grammar::CompiledGrammar> made);

  const grammar::GrammarLimits limits_;
  const std::size_t cache_bytes_;
  const std::shared_ptr<const grammar::TokenTrie> trie_;
  const std::shared_ptr<grammar::MaskFigures> masks_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // used last first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
  CompilerFigures figures_;
};

// The grammar that a spec asks for. A Status about `calls` has the field "tools".
Result<grammar::Grammar> parse_grammar(const GrammarSpec& spec, const grammar::GrammarLimits& limits);

}  // namespace foregate
