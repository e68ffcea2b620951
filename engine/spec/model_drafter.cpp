#include "engine/spec/model_drafter.h"

#include <algorithm>
#include <utility>

namespace foregate {
namespace {

constexpr std::size_t kSteadyRows = 2;  // of a sequence: its newest token, and the last of a draft that stood whole

// Of a tree the target may take another branch than the one that is in the cache.
std::size_t steady_rows(const DraftAsk& ask) {
  return ask.tree == nullptr ? kSteadyRows : static_cast<std::size_t>(ask.tree->depth()) + 1;
}

// That the tokens of its draft may take in the cache: of a tree the first branch where a chain would be, then others.
std::size_t places_of(const DraftAsk& ask) {
  return static_cast<std::size_t>(ask.most) + (ask.tree == nullptr ? 0 : ask.tree->nodes.size());
}

}  // namespace

ModelDrafter::ModelDrafter(std::unique_ptr<Model> model, Device& device, KvCache cache, ModelDrafterOptions options)
    : model_(std::move(model)),
      cache_(std::move(cache)),
      options_(options),
      page_size_(cache_.layout().block_size),
      rows_(device, page_size_, "the draft model"),
      guess_(options_.tokens) {
  for (auto page = static_cast<std::int32_t>(cache_.num_blocks()); page-- > 0;) free_.push_back(page);
}

void ModelDrafter::forget(SeqId seq) {
  const auto it = followers_.find(seq);
  if (it == followers_.end()) return;
  free_.insert(free_.end(), it->second.pages.rbegin(), it->second.pages.rend());
  followers_.erase(it);
}

// Gives up the sequence that was asked about least lately, of those that are not asked about now.
bool ModelDrafter::evict_one() {
  const auto oldest = std::min_element(followers_.begin(), followers_.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.turn, a.first) < std::pair(b.second.turn, b.first);
  });
  if (oldest == followers_.end() || oldest->second.turn == turn_) return false;
  forget(SeqId(oldest->first));
  return true;
}

bool ModelDrafter::make_room(Follower& follower, std::size_t positions) {
  const std::size_t pages =
      (positions + static_cast<std::size_t>(page_size_) - 1) / static_cast<std::size_t>(page_size_);
  while (follower.pages.size() < pages) {
    if (free_.empty() && !evict_one()) return false;
    follower.pages.push_back(free_.back());
    free_.pop_back();
  }
  return true;
}

// What the draft model has to compute of each sequence before it can say what comes next.
std::vector<ModelDrafter::Part> ModelDrafter::catch_up(std::span<const DraftAsk> asks) {
  for (const DraftAsk& ask : asks) followers_[ask.seq].turn = turn_;
  rows_missed_ = 0;
  std::vector<Part> parts;
  auto budget = static_cast<std::size_t>(options_.max_rows);
  for (std::size_t i = 0; i < asks.size() && budget > 0; ++i) {
    const std::span<const Token> tokens = asks[i].tokens;
    const std::size_t end = tokens.size() + places_of(asks[i]);
    if (end > static_cast<std::size_t>(options_.max_positions)) continue;
    Follower& follower = followers_.at(asks[i].seq);
    std::size_t same = std::min(follower.sure, follower.cached.size());
    while (same < std::min(follower.cached.size(), tokens.size()) && follower.cached[same] == tokens[same]) ++same;
    same = std::min(same, tokens.size() - 1);  // the newest token is computed in any case: its row gives the next
    follower.cached.resize(same);
    const std::size_t rows = std::min(tokens.size() - same, budget);
    if (!make_room(follower, end)) continue;
    budget -= rows;
    if (rows > steady_rows(asks[i])) rows_missed_ += static_cast<std::int32_t>(rows);
    parts.push_back({i, &follower, tokens.subspan(same, rows), same + rows == tokens.size()});
    follower.sure = same + rows;
  }
  return parts;
}

Status ModelDrafter::run(std::span<const Part> parts) {
  rows_.clear();
  for (const Part& part : parts) {
    rows_.add(part.tokens, static_cast<std::int32_t>(part.follower->cached.size()), part.follower->pages);
  }
  RETURN_IF_ERROR(rows_.run(*model_, cache_));
  for (const Part& part : parts) {
    part.follower->cached.insert(part.follower->cached.end(), part.tokens.begin(), part.tokens.end());
  }
  return {};
}

std::int32_t ModelDrafter::warm_up() {
  const auto rows = static_cast<std::size_t>(std::min(options_.max_rows, kDraftWarmRows));
  const std::vector<Token> tokens(rows, 0);
  DraftAsk ask;
  ask.seq = SeqId{~std::uint64_t{0}};  // no sequence has it
  ask.tokens = tokens;
  ask.most = 1;
  Draft draft;
  propose({&ask, 1}, {&draft, 1});
  forget(ask.seq);
  return failed_ ? 0 : rows_missed_;
}

void ModelDrafter::propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) {
  if (failed_) return;
  ++turn_;
  std::vector<Part> parts = catch_up(asks);
  if (!asks.empty() && asks.front().tree != nullptr) {
    const Status grown = grow_trees(asks, drafts, parts);
    if (!grown.ok()) {
      failed_ = true;
      give_up(drafts, "the draft model", grown);
    }
    return;
  }
  while (!parts.empty()) {
    const Status ran = run(parts);
    if (!ran.ok()) {
      failed_ = true;
      return give_up(drafts, "the draft model", ran);
    }
    std::vector<Part> next;
    for (std::size_t row = 0; row < parts.size(); ++row) {
      Part part = parts[row];
      if (!part.whole) continue;
      Draft& draft = drafts[part.ask];
      if (!extend(draft, asks[part.ask], guess_(rows_.logits(row), options_.vocab_size), part.probability)) continue;
      part.tokens = std::span<const Token>(draft.tokens).last(1);
      next.push_back(part);
    }
    parts = std::move(next);
  }
}

// Depth after depth, all sequences in one run: the rows of all tokens that something is to follow.
Status ModelDrafter::grow_trees(std::span<const DraftAsk> asks, std::span<Draft> drafts, std::span<const Part> parts) {
  if (parts.empty()) return {};
  aside_.clear();
  RETURN_IF_ERROR(run(parts));
  std::vector<Twig> next;
  for (std::size_t row = 0; row < parts.size(); ++row) {
    if (!parts[row].whole) continue;
    Twig root;
    root.ask = parts[row].ask;
    root.follower = parts[row].follower;
    add_children(asks[root.ask], root, rows_.logits(row), drafts[root.ask], next);
  }
  while (!next.empty()) {
    std::vector<Twig> twigs = std::exchange(next, {});
    RETURN_IF_ERROR(run_twigs(asks, drafts, twigs));
    for (std::size_t row = 0; row < twigs.size(); ++row) {
      const std::size_t ask = twigs[row].ask;
      add_children(asks[ask], twigs[row], rows_.logits(row), drafts[ask], next);
    }
  }
  return {};
}

// Adds the guesses of a row to the draft; those that others are to follow, to `next`, as far as one run has rows.
void ModelDrafter::add_children(const DraftAsk& ask, const Twig& twig, std::span<const float> logits, Draft& draft,
                                std::vector<Twig>& next) {
  const TreeShape::Range children = ask.tree->children(twig.node);
  const auto wanted = static_cast<std::size_t>(children.end - children.first);
  const std::span<const GuessedToken> guesses = guess_.best(logits, options_.vocab_size, wanted);
  for (std::size_t rank = 0; rank < guesses.size(); ++rank) {
    Twig child = twig;
    child.node = children.first + static_cast<std::int32_t>(rank);
    child.at = static_cast<std::int32_t>(draft.tokens.size());
    child.first_branch = twig.first_branch && rank == 0;
    child.probability *= guesses[rank].probability;
    draft.tokens.push_back(guesses[rank].token);
    draft.sure.push_back(guesses[rank].probability);
    draft.parents.push_back(twig.at);
    const TreeShape::Range after = ask.tree->children(child.node);
    const bool goes_on =
        after.first < after.end && ask.tree->nodes[static_cast<std::size_t>(child.node)].depth < ask.most;
    if (!goes_on || child.probability < ask.least_probability) continue;
    if (next.size() < static_cast<std::size_t>(options_.max_rows)) next.push_back(std::move(child));
  }
}

Status ModelDrafter::run_twigs(std::span<const DraftAsk> asks, std::span<const Draft> drafts, std::span<Twig> twigs) {
  rows_.clear();
  for (Twig& twig : twigs) {
    const auto first = static_cast<std::int32_t>(asks[twig.ask].tokens.size());
    const auto depth = static_cast<std::int32_t>(twig.slots.size());
    const std::int32_t aside = first + asks[twig.ask].most;
    const std::int32_t place = twig.first_branch ? first + depth : aside + aside_[asks[twig.ask].seq]++;
    const std::int32_t page = twig.follower->pages[static_cast<std::size_t>(place / page_size_)];
    twig.slots.push_back(static_cast<std::int64_t>(page) * page_size_ + place % page_size_);
    rows_.add_branch(drafts[twig.ask].tokens[static_cast<std::size_t>(twig.at)], first, twig.slots,
                     twig.follower->pages);
  }
  RETURN_IF_ERROR(rows_.run(*model_, cache_));
  for (const Twig& twig : twigs) {
    if (twig.first_branch) {
      twig.follower->cached.push_back(drafts[twig.ask].tokens[static_cast<std::size_t>(twig.at)]);
    }
  }
  return {};
}

}  // namespace foregate
