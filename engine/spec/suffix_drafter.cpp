#include "engine/spec/suffix_drafter.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <utility>

namespace foregate {
namespace {

using Place = SuffixIndex::Place;

// Tokens after places of an index. `own`: it is the sequence's, whose draft goes on where its tokens end.
struct Continuation {
  const SuffixIndex& index;
  bool own;
  const std::vector<Token>& draft;

  Token at(const Place& place, std::size_t step) const {
    const std::uint64_t number = place.next + step;
    if (number < index.size()) return index.at(number);
    const std::uint64_t beyond = number - index.size();
    return own && beyond < draft.size() ? draft[static_cast<std::size_t>(beyond)] : SuffixIndex::kBetween;
  }
};

// What most of `places` go on with at `step`, the latest of equals; kBetween when nothing follows any of them.
std::pair<Token, std::size_t> most_frequent(const Continuation& after, std::span<const Place> places,
                                            std::size_t step) {
  Token best = SuffixIndex::kBetween;
  std::size_t most = 0;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Token token = after.at(places[i], step);
    if (token == SuffixIndex::kBetween || token == best) continue;
    std::size_t count = 0;
    for (std::size_t j = i; j < places.size(); ++j) count += after.at(places[j], step) == token ? 1 : 0;
    if (count <= most) continue;
    most = count;
    best = token;
  }
  return {best, most};
}

// Follows the majority from `places`, all of which share `length` tokens with the text.
Draft follow(const SuffixIndex& index, bool own, std::vector<Place> places, std::size_t length, std::size_t most,
             double least_probability) {
  Draft draft;
  const Continuation after{index, own, draft.tokens};
  double probability = 1.0;
  for (std::size_t step = 0; step < most; ++step) {
    const auto [token, count] = most_frequent(after, places, step);
    if (token == SuffixIndex::kBetween) break;
    const auto all = static_cast<double>(places.size());
    probability *= static_cast<double>(count) / all;
    if (probability < least_probability) break;
    const auto same = static_cast<double>(length + step);
    std::erase_if(places, [&, token = token](const Place& place) { return after.at(place, step) != token; });
    draft.tokens.push_back(token);
    draft.sure.push_back(static_cast<float>(static_cast<double>(count) / (all + 0.5) * same / (same + 1.0)));
  }
  return draft;
}

// What `places` go on with at `step`, the most frequent first, the latest of equals before others, `most` of them.
std::vector<std::pair<Token, std::size_t>> frequent(const Continuation& after, std::span<const Place> places,
                                                    std::size_t step, std::size_t most) {
  std::vector<std::pair<Token, std::size_t>> found;
  for (const Place& place : places) {
    const Token token = after.at(place, step);
    if (token == SuffixIndex::kBetween) continue;
    const auto same = std::ranges::find(found, token, &std::pair<Token, std::size_t>::first);
    if (same == found.end()) {
      found.emplace_back(token, 1);
    } else {
      ++same->second;
    }
  }
  std::ranges::stable_sort(found, std::ranges::greater(), &std::pair<Token, std::size_t>::second);
  found.resize(std::min(found.size(), most));
  return found;
}

// The same as follow() of a tree, at every node of the shape for as many tokens as it has children there.
Draft grow(const SuffixIndex& index, bool own, std::vector<Place> places, std::size_t length, std::size_t most,
           double least_probability, const TreeShape& shape) {
  struct Twig {
    std::int32_t node = -1;  // of the shape
    std::int32_t at = -1;    // in the draft
    double probability = 1.0;
    std::vector<Place> places;
    std::vector<Token> way;
  };
  Draft draft;
  std::deque<Twig> twigs;
  twigs.push_back({.places = std::move(places), .way = {}});
  for (; !twigs.empty(); twigs.pop_front()) {
    const Twig& twig = twigs.front();
    const std::size_t step = twig.way.size();
    const TreeShape::Range children = shape.children(twig.node);
    if (step == most) continue;
    const Continuation after{index, own, twig.way};
    const auto next = frequent(after, twig.places, step, static_cast<std::size_t>(children.end - children.first));
    const auto all = static_cast<double>(twig.places.size());
    const auto same = static_cast<double>(length + step);
    for (std::size_t rank = 0; rank < next.size(); ++rank) {
      const auto [token, count] = next[rank];
      Twig child{.node = children.first + static_cast<std::int32_t>(rank),
                 .at = static_cast<std::int32_t>(draft.tokens.size()),
                 .probability = twig.probability * static_cast<double>(count) / all,
                 .places = {},
                 .way = twig.way};
      if (child.probability < least_probability) break;
      std::ranges::copy_if(twig.places, std::back_inserter(child.places),
                           [&](const Place& place) { return after.at(place, step) == token; });
      child.way.push_back(token);
      draft.tokens.push_back(token);
      draft.sure.push_back(static_cast<float>(static_cast<double>(count) / (all + 0.5) * same / (same + 1.0)));
      draft.parents.push_back(twig.at);
      twigs.push_back(std::move(child));
    }
  }
  return draft;
}

// Tokens of a draft that are expected to stand.
double expected(const Draft& draft) {
  double sum = 0.0;
  double stands = 1.0;
  if (draft.parents.empty()) {
    for (const float sure : draft.sure) sum += stands *= sure;
    return sum;
  }
  std::vector<double> reach;
  for (std::size_t i = 0; i < draft.sure.size(); ++i) {
    const std::int32_t parent = draft.parents[i];
    reach.push_back((parent < 0 ? 1.0 : reach[static_cast<std::size_t>(parent)]) * draft.sure[i]);
    sum += reach.back();
  }
  return sum;
}

}  // namespace

SuffixDrafter::SuffixDrafter(SuffixOptions options)
    : options_(options), earlier_(options.max_cached_requests > 0 ? options.max_cached_tokens : 1) {}

std::size_t SuffixDrafter::bytes() const {
  std::size_t sum = earlier_.bytes();
  for (const auto& [seq, follower] : followers_) sum += follower.index.bytes();
  return sum;
}

// The draft with the most tokens expected, over the lengths that places share with the text: few long matches or many
// short ones.
Draft SuffixDrafter::draft(const SuffixIndex& index, const DraftAsk& ask, double& score) const {
  const std::span<const Token> text = ask.tokens;
  const bool own = &index != &earlier_;
  const std::uint64_t oldest = own || answers_.empty() ? 0 : answers_.front();
  std::vector<Place> places = index.find(text, static_cast<std::size_t>(options_.max_tree_depth));
  std::erase_if(places, [&](const Place& place) { return place.next < oldest; });
  std::ranges::stable_sort(places, std::ranges::greater(), &Place::length);
  Draft best;
  for (std::size_t end = 0; end < places.size();) {
    const std::size_t length = places[end].length;
    while (end < places.size() && places[end].length == length) ++end;
    const auto factor = static_cast<std::size_t>(options_.max_spec_factor * static_cast<double>(length));
    const std::size_t tokens =
        std::min({static_cast<std::size_t>(ask.most), factor, static_cast<std::size_t>(options_.max_tree_depth)});
    std::vector<Place> longest(places.begin(), places.begin() + static_cast<std::ptrdiff_t>(end));
    Draft draft = ask.tree == nullptr
                      ? follow(index, own, std::move(longest), length, tokens, options_.min_token_prob)
                      : grow(index, own, std::move(longest), length, tokens, options_.min_token_prob, *ask.tree);
    const double value = expected(draft);
    if (value <= score) continue;
    score = value;
    best = std::move(draft);
  }
  return best;
}

void SuffixDrafter::propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) {
  for (std::size_t i = 0; i < asks.size(); ++i) {
    const std::span<const Token> text = asks[i].tokens;
    Follower& follower = followers_[asks[i].seq];
    follower.prompt = static_cast<std::uint64_t>(asks[i].prompt_tokens);
    for (auto k = static_cast<std::size_t>(follower.index.size()); k < text.size(); ++k) follower.index.append(text[k]);
    double score = 0.0;
    drafts[i] = draft(follower.index, asks[i], score);
    if (options_.max_cached_requests == 0) continue;
    Draft other = draft(earlier_, asks[i], score);
    if (!other.tokens.empty()) drafts[i] = std::move(other);
  }
}

// Its answer is kept for those who come later.
void SuffixDrafter::forget(SeqId seq) {
  const auto it = followers_.find(seq);
  if (it == followers_.end()) return;
  const Follower& follower = it->second;
  if (options_.max_cached_requests > 0 && follower.index.size() > follower.prompt) {
    earlier_.append(SuffixIndex::kBetween);
    answers_.push_back(earlier_.size());
    for (std::uint64_t k = follower.prompt; k < follower.index.size(); ++k) earlier_.append(follower.index.at(k));
    if (answers_.size() > static_cast<std::size_t>(options_.max_cached_requests)) answers_.pop_front();
  }
  followers_.erase(it);
}

}  // namespace foregate
