#include "engine/grammar/free_text.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "engine/grammar/json_text.h"

namespace foregate::grammar {
namespace {

// How much of the mark the text ends with, after one more character. State 0 is the rest of the alphabet too.
class MarkSteps {
 public:
  explicit MarkSteps(std::string_view mark) : mark_(mark), alphabet_(mark.begin(), mark.end()) {}
  std::size_t size() const { return mark_.size(); }
  const std::set<char>& alphabet() const { return alphabet_; }
  std::size_t next(std::size_t state, char c) const {
    const std::string text = std::string(mark_.substr(0, state)) + c;
    for (std::size_t length = std::min(text.size(), mark_.size()); length > 0; --length) {
      if (text.compare(text.size() - length, length, mark_.substr(0, length)) == 0) return length;
    }
    return 0;
  }

 private:
  std::string_view mark_;
  std::set<char> alphabet_;
};

// Rules by state: the way to an end, where staying in a state is a repetition, so that nothing nests as the text grows.
class Ways {
 public:
  Ways(const MarkSteps& steps, Grammar& grammar) : steps_(steps), grammar_(grammar) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      back_.push_back(grammar.add_rule(kNoExpr));
      on_.push_back(grammar.add_rule(kNoExpr));
    }
    for (std::size_t i = 1; i < steps.size(); ++i) grammar.define(back_[i], way(i, false));
    for (std::size_t i = 1; i < steps.size(); ++i) grammar.define(on_[i], way(i, true));
    grammar.define(back_[0], way(0, false));
    grammar.define(on_[0], way(0, true));
  }
  // Once around: from state 0 to state 0. Then the way through all of the mark.
  ExprId whole() {
    return grammar_.sequence({grammar_.repeat(grammar_.rule(back_[0]), 0, kUnbounded), grammar_.rule(on_[0])});
  }

 private:
  ExprId way(std::size_t state, bool on) {
    std::vector<CodeRange> others, staying;
    std::vector<ExprId> choices;
    for (const char c : steps_.alphabet()) {
      const auto code = static_cast<std::uint32_t>(static_cast<unsigned char>(c));
      const std::size_t to = steps_.next(state, c);
      if (to != 0) others.push_back({code, code});
      if (to == 0) continue;
      const ExprId one = grammar_.chars({{code, code}});
      if (to == state) {
        staying.push_back({code, code});
      } else if (to == steps_.size()) {
        if (on) choices.push_back(one);
      } else {
        choices.push_back(grammar_.sequence({one, grammar_.rule(on ? on_[to] : back_[to])}));
      }
    }
    if (!on) choices.push_back(grammar_.chars(std::move(others), true));  // all that leads back to state 0
    const ExprId leave = grammar_.choice(std::move(choices));
    if (staying.empty()) return leave;
    return grammar_.sequence({grammar_.repeat(grammar_.chars(std::move(staying)), 0, kUnbounded), leave});
  }

  const MarkSteps& steps_;
  Grammar& grammar_;
  std::vector<RuleId> back_, on_;
};

}  // namespace

ExprId text_until(std::string_view mark, Grammar& grammar) {
  const MarkSteps steps(mark);
  return Ways(steps, grammar).whole();
}

void allow_before(const FreeStart& start, Grammar& grammar) {
  const ExprId free = grammar.sequence({text_until(start.close, grammar), JsonRules(grammar).space()});
  const ExprId before =
      start.open.empty() ? free : grammar.optional(grammar.sequence({grammar.text(start.open), free}));
  const ExprId form = grammar.rule(grammar.root());
  grammar.set_root(grammar.add_rule(grammar.sequence({before, form})));
}

}  // namespace foregate::grammar
