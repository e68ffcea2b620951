#include "engine/grammar/json_numbers.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace foregate::grammar {
namespace {

constexpr std::int64_t kMostWhole = 999'999'999'999'999'999;

class Numbers {
 public:
  explicit Numbers(Grammar& grammar) : g_(grammar) {}

  ExprId nothing() { return g_.chars({}); }
  ExprId digits(std::int32_t least, std::int32_t most) { return g_.repeat(digit('0', '9'), least, most); }

  // 0 <= low <= high.
  ExprId whole(std::int64_t low, std::int64_t high) {
    if (low > high) return nothing();
    std::vector<ExprId> choices;
    const std::string first = std::to_string(low), last = std::to_string(high);
    for (std::size_t length = first.size(); length <= last.size(); ++length) {
      const std::string from = length == first.size() ? first : "1" + std::string(length - 1, '0');
      const std::string to = length == last.size() ? last : std::string(length, '9');
      choices.push_back(same_length(from, to));
    }
    return g_.choice(std::move(choices));
  }

  // Numbers from low to high, both 0 or more; the ends by themselves only where they are not open.
  ExprId real(Bound low, Bound high) {
    if (low.value > high.value) return nothing();
    std::vector<ExprId> choices;
    const ExprId fraction = g_.optional(g_.sequence({g_.text("."), digits(1, 18)}));
    if (high.value - low.value > 1) {
      choices.push_back(g_.sequence({whole(low.value + 1, high.value - 1), fraction}));
    }
    if (low.value < high.value) {
      const ExprId above = g_.sequence({g_.text("."), g_.repeat(g_.text("0"), 0, 8), digit('1', '9'), digits(0, 8)});
      choices.push_back(g_.sequence({g_.text(std::to_string(low.value)), low.open ? above : fraction}));
    }
    if (!high.open && (low.value < high.value || !low.open)) {
      const ExprId zeros = g_.optional(g_.sequence({g_.text("."), g_.repeat(g_.text("0"), 1, 8)}));
      choices.push_back(g_.sequence({g_.text(std::to_string(high.value)), zeros}));
    }
    return choices.empty() ? nothing() : g_.choice(std::move(choices));
  }

  ExprId minus(ExprId number) { return g_.sequence({g_.text("-"), number}); }

 private:
  ExprId digit(char low, char high) {
    return g_.chars({{static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(high)}});
  }
  // Numbers of as many digits as both ends have.
  ExprId same_length(std::string_view from, std::string_view to) {
    std::size_t same = 0;
    while (same < from.size() && from[same] == to[same]) ++same;
    if (same == from.size()) return g_.text(from);
    const auto rest = static_cast<std::int32_t>(from.size() - same - 1);
    std::vector<ExprId> choices;
    choices.push_back(g_.sequence({digit(from[same], from[same]), bounded(from.substr(same + 1), true)}));
    if (to[same] - from[same] > 1) {
      choices.push_back(
          g_.sequence({digit(static_cast<char>(from[same] + 1), static_cast<char>(to[same] - 1)), digits(rest, rest)}));
    }
    choices.push_back(g_.sequence({digit(to[same], to[same]), bounded(to.substr(same + 1), false)}));
    return g_.sequence({g_.text(from.substr(0, same)), g_.choice(std::move(choices))});
  }
  // As many digits as `edge`, not below it (or not above).
  ExprId bounded(std::string_view edge, bool at_least) {
    if (edge.empty()) return g_.text("");
    const auto rest = static_cast<std::int32_t>(edge.size() - 1);
    std::vector<ExprId> choices = {g_.sequence({digit(edge[0], edge[0]), bounded(edge.substr(1), at_least)})};
    const char low = at_least ? static_cast<char>(edge[0] + 1) : '0';
    const char high = at_least ? '9' : static_cast<char>(edge[0] - 1);
    if (low <= high) choices.push_back(g_.sequence({digit(low, high), digits(rest, rest)}));
    return g_.choice(std::move(choices));
  }
  Grammar& g_;
};

Bound clamped(std::optional<Bound> bound, std::int64_t otherwise) {
  if (!bound) return {otherwise, false};
  return {std::clamp(bound->value, -kMostWhole, kMostWhole), bound->open};
}

}  // namespace

ExprId integer_between(std::optional<Bound> least, std::optional<Bound> most, Grammar& grammar) {
  Numbers numbers(grammar);
  const Bound low = clamped(least, -kMostWhole), high = clamped(most, kMostWhole);
  const std::int64_t from = low.value + (low.open ? 1 : 0), to = high.value - (high.open ? 1 : 0);
  std::vector<ExprId> choices;
  if (from < 0) choices.push_back(numbers.minus(numbers.whole(std::max<std::int64_t>(1, -to), -from)));
  if (to >= 0) choices.push_back(numbers.whole(std::max<std::int64_t>(0, from), to));
  return choices.empty() ? numbers.nothing() : grammar.choice(std::move(choices));
}

ExprId number_between(std::optional<Bound> least, std::optional<Bound> most, Grammar& grammar) {
  Numbers numbers(grammar);
  const Bound low = clamped(least, -kMostWhole), high = clamped(most, kMostWhole);
  std::vector<ExprId> choices;
  if (low.value < 0) {
    const Bound nearest = high.value >= 0 ? Bound{0, true} : Bound{-high.value, high.open};
    choices.push_back(numbers.minus(numbers.real(nearest, {-low.value, low.open})));
  }
  if (high.value >= 0) choices.push_back(numbers.real(low.value < 0 ? Bound{} : low, high));
  return choices.empty() ? numbers.nothing() : grammar.choice(std::move(choices));
}

}  // namespace foregate::grammar
