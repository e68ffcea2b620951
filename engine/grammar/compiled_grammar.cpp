#include "engine/grammar/compiled_grammar.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace foregate::grammar {
namespace {

Status overflow() {
  return invalid_argument("the grammar can be read in too many ways at once");
}

}  // namespace

class GrammarState final : public ConstraintState {
 public:
  GrammarState(std::shared_ptr<const CompiledGrammar> grammar, std::shared_ptr<CompiledGrammar::Tables> tables,
               StateId state)
      : grammar_(std::move(grammar)), tables_(std::move(tables)), state_(state) {}

  Result<std::span<const std::uint64_t>> allowed() override {
    const std::lock_guard lock(grammar_->mutex_);
    ASSIGN_OR_RETURN(mask_, grammar_->mask_of(*tables_, state_));
    return std::span<const std::uint64_t>(*mask_);
  }
  Status accept(std::int32_t token) override {
    const std::lock_guard lock(grammar_->mutex_);
    const auto& tokens = grammar_->trie_->vocabulary().tokens;
    const bool known = token >= 0 && static_cast<std::size_t>(token) < tokens.size();
    StateId state = known && !tokens[static_cast<std::size_t>(token)].empty() ? state_ : kDead;
    if (state != kDead) {
      for (const char c : tokens[static_cast<std::size_t>(token)]) {
        state = tables_->states.step(state, static_cast<std::uint8_t>(c));
      }
    }
    if (state == kOverflow) return overflow();
    if (state == kDead) return invalid_argument("token " + std::to_string(token) + " does not fit the grammar");
    state_ = state;
    return {};
  }
  bool complete() const override {
    const std::lock_guard lock(grammar_->mutex_);
    const State& state = tables_->states.state(state_);
    return state.ends && state.items.empty();
  }
  std::unique_ptr<ConstraintState> clone() const override { return std::make_unique<GrammarState>(*this); }

 private:
  std::shared_ptr<const CompiledGrammar> grammar_;
  std::shared_ptr<CompiledGrammar::Tables> tables_;
  StateId state_;
  std::shared_ptr<const Mask> mask_;  // keeps what allowed() gave
};

CompiledGrammar::CompiledGrammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie,
                                 const GrammarLimits& limits, std::shared_ptr<MaskFigures> figures)
    : limits_(limits),
      automaton_(std::move(automaton)),
      trie_(std::move(trie)),
      figures_(std::move(figures)),
      classes_(automaton_, *trie_, limits_),
      tables_(std::make_shared<Tables>(automaton_, limits_)) {
  classes_.prepare();
}

std::unique_ptr<ConstraintState> CompiledGrammar::start() const {
  const std::lock_guard lock(mutex_);
  if (tables_->states.half_full()) tables_ = std::make_shared<Tables>(automaton_, limits_);
  return std::make_unique<GrammarState>(shared_from_this(), tables_, tables_->states.start());
}

std::size_t CompiledGrammar::bytes() const {
  const std::lock_guard lock(mutex_);
  return automaton_.bytes() + classes_.bytes() + tables_->states.bytes() +
         tables_->masks.size() * trie_->mask_words() * sizeof(std::uint64_t);
}

Result<std::shared_ptr<const Mask>> CompiledGrammar::mask_of(Tables& tables, StateId state) const {
  if (state == kOverflow) return overflow();
  const auto found = tables.masks.find(state);
  if (found != tables.masks.end()) {
    if (figures_ != nullptr) ++figures_->reused;
    return found->second;
  }
  ASSIGN_OR_RETURN(Mask made, make_mask(tables, state));
  if (figures_ != nullptr) ++figures_->computed;
  if ((tables.masks.size() + 1) * made.size() * sizeof(std::uint64_t) > limits_.mask_bytes) tables.masks.clear();
  auto mask = std::make_shared<const Mask>(std::move(made));
  tables.masks.emplace(state, mask);
  return mask;
}

Result<Mask> CompiledGrammar::make_mask(Tables& tables, StateId state) const {
  Mask mask(trie_->mask_words(), 0);
  const std::vector<Item> items = tables.states.state(state).items;  // steps below may move the states
  for (auto first = items.begin(), last = first; first != items.end(); first = last) {
    last = std::find_if(first, items.end(), [first](const Item& item) { return item.node != first->node; });
    const NodeTokens& tokens = classes_.of(first->node);
    if (!tokens.known) {
      RETURN_IF_ERROR(add_all(tables, state, mask));
      break;
    }
    set_bits(mask, tokens.few);
    set_bits(mask, tokens.many);
    if (tokens.leaving != nullptr) RETURN_IF_ERROR(add_leaving(tables, {first, last}, *tokens.leaving, mask));
  }
  if (tables.states.state(state).ends) set_bits(mask, trie_->vocabulary().end_ids);
  return mask;
}

// Reads what tokens go on with, each once, where the rule of these items returns to. Rests come in ascending order:
// what two of them begin with is read once.
Status CompiledGrammar::add_leaving(Tables& tables, std::span<const Item> items, const LeavingTokens& tokens,
                                    Mask& mask) const {
  std::vector<StateId> states = {tables.states.behind(items)};  // by bytes of the rest that were read
  if (states[0] == kOverflow) return overflow();
  if (states[0] == kDead) return {};
  std::vector<bool> good;
  for (const LeavingTokens::Rest& rest : tokens.rests) {
    const std::string& text = trie_->vocabulary().tokens[static_cast<std::size_t>(rest.token)];
    states.resize(std::min<std::size_t>(states.size(), rest.shared + 1u));
    while (states.back() != kDead && rest.offset + states.size() <= text.size()) {
      const char byte = text[rest.offset + states.size() - 1];
      states.push_back(tables.states.step(states.back(), static_cast<std::uint8_t>(byte)));
    }
    if (states.back() == kOverflow) return overflow();
    good.push_back(states.back() != kDead);
  }
  for (std::size_t i = 0; i + 1 < tokens.alike.size(); ++i) {
    const auto &now = tokens.alike[i], &next = tokens.alike[i + 1];
    const auto asked = std::span(tokens.asked).subspan(now.rests, next.rests - now.rests);
    if (std::none_of(asked.begin(), asked.end(), [&good](std::uint32_t rest) { return good[rest]; })) continue;
    if (now.mask >= 0) set_bits(mask, tokens.masks[static_cast<std::size_t>(now.mask)]);
    set_bits(mask, std::span(tokens.ids).subspan(now.ids, next.ids - now.ids));
  }
  return {};
}

Status CompiledGrammar::add_all(Tables& tables, StateId from, Mask& mask) const {
  std::vector<StateId> path(trie_->depth() + 1, from);
  for (std::uint32_t i = 1; i < trie_->size();) {
    const TokenTrie::Node& at = trie_->node(i);
    const StateId state = tables.states.step(path[at.depth - 1u], at.byte);
    if (state == kOverflow) return overflow();
    if (state == kDead) {
      i = at.end;
      continue;
    }
    set_bits(mask, trie_->tokens(i));
    path[at.depth] = state;
    ++i;
  }
  return {};
}

}  // namespace foregate::grammar
