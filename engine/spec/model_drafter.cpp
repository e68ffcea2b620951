#include "engine/spec/model_drafter.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "engine/base/log.h"

namespace foregate {
namespace {

constexpr std::int32_t kWarmRows = 16;
constexpr std::size_t kSteadyRows = 2;  // of a sequence: its newest token, and the last of a draft that stood whole

}  // namespace

ModelDrafter::ModelDrafter(std::unique_ptr<Model> model, Device& device, KvCache cache, ModelDrafterOptions options)
    : model_(std::move(model)),
      device_(device),
      cache_(std::move(cache)),
      options_(options),
      page_size_(cache_.layout().block_size) {
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
  tokens_.clear();
  positions_.clear();
  slots_.clear();
  seqs_.clear();
  logit_rows_.clear();
  for (const Part& part : parts) {
    Follower& follower = *part.follower;
    const auto first = static_cast<std::int32_t>(follower.cached.size());
    seqs_.push_back({static_cast<std::int32_t>(tokens_.size()), static_cast<std::int32_t>(part.tokens.size()), first,
                     follower.pages.data()});
    for (std::size_t k = 0; k < part.tokens.size(); ++k) {
      const std::int32_t position = first + static_cast<std::int32_t>(k);
      const std::int32_t page = follower.pages[static_cast<std::size_t>(position / page_size_)];
      tokens_.push_back(part.tokens[k]);
      positions_.push_back(position);
      slots_.push_back(static_cast<std::int64_t>(page) * page_size_ + position % page_size_);
    }
    logit_rows_.push_back(static_cast<std::int32_t>(tokens_.size()) - 1);
  }
  const std::int64_t vocab = model_->vocab_size();
  const std::size_t bytes = parts.size() * static_cast<std::size_t>(vocab) * sizeof(float);
  if (logits_.bytes() < bytes) logits_ = device_.allocate_pinned(bytes);
  if (!logits_) return resource_exhausted("no memory for the logits of a draft");
  View2<float> view;
  view.data = reinterpret_cast<float*>(logits_.data());
  view.rows = static_cast<std::int64_t>(parts.size());
  view.cols = view.stride = vocab;
  try {
    RETURN_IF_ERROR(model_->forward({tokens_, positions_, slots_, seqs_, logit_rows_}, cache_, view));
  } catch (const std::exception& error) {
    return internal_error(std::string("the draft model threw: ") + error.what());
  }
  for (const Part& part : parts) {
    part.follower->cached.insert(part.follower->cached.end(), part.tokens.begin(), part.tokens.end());
  }
  return {};
}

GuessedToken ModelDrafter::guess(std::size_t row) {
  const auto vocab = static_cast<std::size_t>(model_->vocab_size());
  return guess_({reinterpret_cast<const float*>(logits_.data()) + row * vocab, vocab}, options_.vocab_size);
}

std::int32_t ModelDrafter::warm_up() {
  const auto rows = static_cast<std::size_t>(std::min(options_.max_rows, kWarmRows));
  const std::vector<Token> tokens(rows, 0);
  DraftAsk ask;
  ask.seq = SeqId(~std::uint64_t{0});  // no sequence has it
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
      for (Draft& draft : drafts) draft = {};
      return log_error("the draft model failed, decoding goes on without it: " + ran.to_string());
    }
    std::vector<Part> next;
    for (std::size_t row = 0; row < parts.size(); ++row) {
      Part part = parts[row];
      const GuessedToken best = part.whole ? guess(row) : GuessedToken{};
      if (best.token < 0) continue;
      const DraftAsk& ask = asks[part.ask];
      Draft& draft = drafts[part.ask];
      draft.tokens.reserve(static_cast<std::size_t>(ask.most));  // parts point into it
      draft.tokens.push_back(best.token);
      draft.sure.push_back(best.probability);
      part.probability *= best.probability;
      if (static_cast<std::int32_t>(draft.tokens.size()) >= ask.most || part.probability < ask.least_probability)
        continue;
      part.tokens = std::span<const Token>(draft.tokens).last(1);
      next.push_back(part);
    }
    parts = std::move(next);
  }
}

}  // namespace foregate
