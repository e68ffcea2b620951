#include "engine/spec/suffix_drafter.h"

#include <algorithm>
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

// Tokens of a draft that are expected to stand.
double expected(const Draft& draft) {
  double sum = 0.0;
  double stands = 1.0;
  for (const float sure : draft.sure) sum += stands *= sure;
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
Draft SuffixDrafter::draft(const SuffixIndex& index, std::span<const Token> text, std::int32_t most,
                           double& score) const {
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
        std::min({static_cast<std::size_t>(most), factor, static_cast<std::size_t>(options_.max_tree_depth)});
    Draft draft = follow(index, own, {places.begin(), places.begin() + static_cast<std::ptrdiff_t>(end)}, length,
                         tokens, options_.min_token_prob);
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
    drafts[i] = draft(follower.index, text, asks[i].most, score);
    if (options_.max_cached_requests == 0) continue;
    Draft other = draft(earlier_, text, asks[i].most, score);
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
