#include "engine/spec/model_drafter.h"

#include <algorithm>
#include <utility>

namespace foregate {
namespace {

constexpr std::size_t kSteadyRows = 2;  // of a sequence: its newest token, and the last of a draft that stood whole

}  // namespace

ModelDrafter::ModelDrafter(std::unique_ptr<Model> model, Device& device, KvCache cache, ModelDrafterOptions options)
    : model_(std::move(model)),
      cache_(std::move(cache)),
      options_(options),
      page_size_(cache_.layout().block_size),
      rows_(device, page_size_, "the draft model") {
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
    const std::size_t end = tokens.size() + static_cast<std::size_t>(asks[i].most);
    if (end > static_cast<std::size_t>(options_.max_positions)) continue;
    Follower& follower = followers_.at(asks[i].seq);
    std::size_t same = std::min(follower.sure, follower.cached.size());
    while (same < std::min(follower.cached.size(), tokens.size()) && follower.cached[same] == tokens[same]) ++same;
    same = std::min(same, tokens.size() - 1);  // the newest token is computed in any case: its row gives the next
    follower.cached.resize(same);
    const std::size_t rows = std::min(tokens.size() - same, budget);
    if (!make_room(follower, end)) continue;
    budget -= rows;
    if (rows > kSteadyRows) rows_missed_ += static_cast<std::int32_t>(rows);
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

}  // namespace foregate
