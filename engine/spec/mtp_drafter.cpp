#include "engine/spec/mtp_drafter.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/api/check.h"

namespace foregate {
namespace {

bool finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

}  // namespace

MtpDrafter::MtpDrafter(std::unique_ptr<Model> layer, Device& device, KvCache cache, const MtpShape& shape)
    : layer_(std::move(layer)),
      cache_(std::move(cache)),
      shape_(shape),
      page_size_(cache_.layout().block_size),
      rows_(device, page_size_, "the NextN layer"),
      kept_(static_cast<std::size_t>(shape.places) * static_cast<std::size_t>(shape.kept) *
            static_cast<std::size_t>(shape.hidden_size)),
      guess_(shape_.tokens) {
  CHECK(shape_.positions % page_size_ == 0);
  CHECK(cache_.num_blocks() * page_size_ >= std::int64_t{shape_.places} * shape_.positions);
  for (std::int32_t place = shape_.places; place-- > 0;) free_.push_back(place);
}

// Numbers that are not finite stay in nobody's pages (INV-20).
void MtpDrafter::forget(SeqId seq) {
  const auto it = followers_.find(seq);
  if (it == followers_.end()) return;
  if (it->second.spoilt) {
    for (const std::int32_t page : it->second.pages) cache_.zero_block(BlockId{page});
  }
  free_.push_back(it->second.place);
  followers_.erase(it);
}

std::span<float> MtpDrafter::state(const Follower& follower, std::int32_t position) {
  const auto size = static_cast<std::size_t>(shape_.hidden_size);
  const auto row = static_cast<std::size_t>(follower.place) * static_cast<std::size_t>(shape_.kept) +
                   static_cast<std::size_t>(position % shape_.kept);
  return std::span(kept_).subspan(row * size, size);
}

std::int32_t MtpDrafter::oldest(const Follower& follower) const {
  return std::max(follower.first, follower.next - shape_.kept);
}

// Null when all places are of sequences that were heard of not long ago.
MtpDrafter::Follower* MtpDrafter::follow(SeqId seq) {
  const auto known = followers_.find(seq);
  if (known != followers_.end()) return &known->second;
  if (free_.empty()) {
    const auto least = std::ranges::min_element(
        followers_, {}, [](const auto& each) { return std::pair(each.second.turn, each.first); });
    if (least == followers_.end() || least->second.turn + 2 * static_cast<std::uint64_t>(shape_.places) > turn_) {
      return nullptr;
    }
    forget(SeqId(least->first));
  }
  Follower& made = followers_[seq];
  made.place = free_.back();
  free_.pop_back();
  const std::int32_t pages = shape_.positions / page_size_;
  for (std::int32_t i = 0; i < pages; ++i) made.pages.push_back(made.place * pages + i);
  return &made;
}

void MtpDrafter::computed(SeqId seq, std::int32_t first, std::span<const float> hidden) {
  const auto size = static_cast<std::size_t>(shape_.hidden_size);
  const auto rows = static_cast<std::int32_t>(hidden.size() / size);
  if (failed_ || rows == 0) return;
  ++turn_;
  Follower* const follower = follow(seq);
  if (follower == nullptr || follower->spoilt) return;
  follower->turn = turn_;
  if (!finite(hidden)) {
    follower->spoilt = true;
    return;
  }
  if (first > follower->next || follower->next == 0) {  // what lies between never came
    follower->first = follower->next = follower->begin = first;
    follower->done = 0;
  }
  const std::int32_t end = first + rows;
  for (std::int32_t p = std::max(follower->next, end - shape_.kept); p < end; ++p) {
    std::ranges::copy(hidden.subspan(static_cast<std::size_t>(p - first) * size, size), state(*follower, p).begin());
  }
  follower->next = std::max(follower->next, end);
}

// What the layer has to compute of each sequence before it can say what comes next.
std::vector<MtpDrafter::Part> MtpDrafter::catch_up(std::span<const DraftAsk> asks) {
  rows_missed_ = 0;
  std::vector<Part> parts;
  std::int32_t budget = shape_.max_rows;
  for (std::size_t i = 0; i < asks.size() && budget > 0; ++i) {
    const auto found = followers_.find(asks[i].seq);
    if (found == followers_.end()) continue;
    Follower& follower = found->second;
    follower.turn = turn_;
    const auto known = static_cast<std::int32_t>(asks[i].tokens.size()) - 1;
    if (follower.spoilt || follower.next != known || oldest(follower) == known) continue;
    const bool lost = follower.begin + follower.done < oldest(follower);
    if (lost || known - follower.begin + asks[i].most > shape_.positions) {
      follower.begin = oldest(follower);
      follower.done = 0;
      ++begun_anew_;
    }
    const std::int32_t at = follower.begin + follower.done;
    // The newest row is computed in any case: it gives the next token.
    const std::int32_t from = std::min(at, known - 1);
    const std::int32_t rows = std::min(known - from, budget);
    budget -= rows;
    if (rows > asks[i].most + 1) rows_missed_ += rows;
    parts.push_back(
        {.ask = i,
         .follower = &follower,
         .row = from - follower.begin,
         .tokens = asks[i].tokens.subspan(static_cast<std::size_t>(from) + 1, static_cast<std::size_t>(rows)),
         .hidden = {},
         .whole = from + rows == known});
    follower.done = from + rows - follower.begin;
  }
  return parts;
}

void MtpDrafter::add_rows(const Part& part) {
  const Follower& follower = *part.follower;
  rows_.add(part.tokens, part.row, follower.pages);
  for (std::int32_t row = part.row; row < part.row + static_cast<std::int32_t>(part.tokens.size()); ++row) {
    const std::span<const float> hidden =
        part.hidden.empty() ? std::span<const float>(state(follower, follower.begin + row)) : part.hidden;
    hidden_in_.insert(hidden_in_.end(), hidden.begin(), hidden.end());
  }
}

Status MtpDrafter::run(std::span<const Part> parts) {
  rows_.clear();
  hidden_in_.clear();
  for (const Part& part : parts) add_rows(part);
  hidden_out_.resize(hidden_in_.size());
  return rows_.run(*layer_, cache_, hidden_in_, hidden_out_);
}

GuessedToken MtpDrafter::guess(const Part& part, std::size_t row) {
  const std::span<const float> logits = rows_.logits(row);
  if (!finite(logits)) part.follower->spoilt = true;
  return part.whole ? guess_(logits, shape_.vocab_size) : GuessedToken{};
}

std::int32_t MtpDrafter::warm_up() {
  const std::int32_t rows = std::min({kDraftWarmRows, shape_.max_rows, shape_.kept});
  const std::vector<float> hidden(static_cast<std::size_t>(rows) * static_cast<std::size_t>(shape_.hidden_size));
  const std::vector<Token> tokens(static_cast<std::size_t>(rows) + 1, 0);
  DraftAsk ask;
  ask.seq = SeqId{~std::uint64_t{0}};  // no sequence has it
  ask.tokens = tokens;
  ask.most = 1;
  computed(ask.seq, 0, hidden);
  Draft draft;
  propose({&ask, 1}, {&draft, 1});
  forget(ask.seq);
  return failed_ ? 0 : rows_missed_;
}

void MtpDrafter::propose(std::span<const DraftAsk> asks, std::span<Draft> drafts) {
  if (failed_) return;
  ++turn_;
  const auto size = static_cast<std::size_t>(shape_.hidden_size);
  std::vector<Part> parts = catch_up(asks);
  while (!parts.empty()) {
    const Status ran = run(parts);
    if (!ran.ok()) {
      failed_ = true;
      return give_up(drafts, "the NextN layer", ran);
    }
    std::vector<Part> next;
    carried_.resize(parts.size() * size);
    for (std::size_t row = 0; row < parts.size(); ++row) {
      Part part = parts[row];
      Draft& draft = drafts[part.ask];
      if (!extend(draft, asks[part.ask], guess(part, row), part.probability)) continue;
      const auto last = std::span(hidden_out_).subspan(static_cast<std::size_t>(rows_.last_row(row)) * size, size);
      const auto carried = std::span(carried_).subspan(row * size, size);
      std::ranges::copy(last, carried.begin());
      part.row += static_cast<std::int32_t>(part.tokens.size());
      part.tokens = std::span<const Token>(draft.tokens).last(1);
      part.hidden = carried;
      next.push_back(part);
    }
    parts = std::move(next);
  }
}

}  // namespace foregate
