#include "engine/grammar/compile.h"
#include "kernels/api/check.h"
#include "tests/fuzz/fuzz_target.h"

namespace foregate {
namespace {

constexpr std::int32_t kEnd = 256;

// Bytes, and a few tokens that are longer.
grammar::Vocabulary vocabulary() {
  grammar::Vocabulary made;
  for (int byte = 0; byte < 256; ++byte) made.tokens.emplace_back(1, static_cast<char>(byte));
  made.tokens.emplace_back();
  for (const char* more : {"\": ", "{\"", "\", \"", "}", "true", "null", "ab", "\xC3\xA9", "  ", "12"})
    made.tokens.emplace_back(more);
  made.end_ids = {kEnd};
  return made;
}

bool bit(std::span<const std::uint64_t> mask, std::int32_t id) {
  return (mask[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
}

// A text under the masks, chosen by the seed. True when it came to its end within the steps.
bool draw(const TokenConstraint& form, std::int32_t tokens, std::uint32_t seed) {
  auto state = form.start();
  for (int step = 0; step < 60; ++step) {
    if (state->complete()) return true;
    auto mask = state->allowed();
    if (!mask.ok()) return false;  // can be read in too many ways at once
    std::vector<std::int32_t> ids;
    for (std::int32_t id = 0; id < tokens; ++id) {
      if (bit(*mask, id)) ids.push_back(id);
    }
    CHECK(!ids.empty());  // nothing leads to a dead end
    seed = seed * 1664525u + 1013904223u;
    const std::int32_t id = step > 30 && bit(*mask, kEnd) ? kEnd : ids[(seed >> 8) % ids.size()];
    if (id == kEnd) return true;
    const auto before = state->clone();
    const Status taken = state->accept(id);
    if (!taken.ok()) {
      CHECK(taken.message().find("too many ways") != std::string::npos);
      return false;
    }
    CHECK(before->allowed().ok());  // an earlier state is still good
  }
  return false;
}

}  // namespace
}  // namespace foregate

int fuzz_grammar(std::string_view bytes) {
  using namespace foregate;
  using Kind = GrammarSpec::Kind;
  if (bytes.size() < 2) return 0;
  static const grammar::GrammarLimits kLimits = [] {
    grammar::GrammarLimits limits;
    limits.exprs = 20'000;
    limits.nodes = 20'000;
    limits.build_steps = 1'000'000;
    limits.prepare_visits = 50'000;
    limits.items = 512;
    limits.states = 1u << 12;
    limits.stacks = 1u << 14;
    return limits;
  }();
  static const auto kWords = vocabulary();
  Kind kind;
  switch (bytes[0]) {
    case 's': kind = Kind::kJsonSchema; break;
    case 'x': kind = Kind::kRegex; break;
    case 'c': kind = Kind::kChoice; break;
    case 'g': kind = Kind::kGbnf; break;
    default: return 0;
  }
  GrammarCompiler compiler(kWords, kLimits, std::size_t{1} << 20);
  const std::string text(bytes.substr(2));
  const grammar::FreeStart before = bytes[1] == 't' ? grammar::FreeStart{"<think>", "</think>"} : grammar::FreeStart{};
  auto form = compiler.compile({kind, text, before});
  if (!form.ok()) return 0;
  bool ended = false;
  for (std::uint32_t seed = 1; seed <= 3; ++seed)
    ended |= draw(**form, static_cast<std::int32_t>(kWords.tokens.size()), seed);
  return ended ? 2 : 1;
}
