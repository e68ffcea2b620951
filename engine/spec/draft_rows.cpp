#include "engine/spec/draft_rows.h"

#include <exception>
#include <utility>

#include "engine/base/log.h"

namespace foregate {

void DraftRows::clear() {
  tokens_.clear();
  positions_.clear();
  slots_.clear();
  seqs_.clear();
  logit_rows_.clear();
  branches_.clear();
  tails_.clear();
}

void DraftRows::add_branch(Token token, std::int32_t first, std::vector<std::int64_t> slots,
                           const std::vector<std::int32_t>& pages) {
  const auto row = static_cast<std::int32_t>(tokens_.size());
  const auto length = static_cast<std::int32_t>(slots.size());
  if (!seqs_.empty() && seqs_.back().block_table == pages.data()) {
    ++seqs_.back().rows;
  } else {
    seqs_.push_back({row, 1, first, pages.data()});
  }
  tokens_.push_back(token);
  positions_.push_back(first + length - 1);
  slots_.push_back(slots.back());
  logit_rows_.push_back(row);
  tails_.push_back(std::move(slots));
  branches_.push_back({row, 1, positions_.back(), pages.data(), tails_.back().data(), first});
}

void DraftRows::add(std::span<const Token> tokens, std::int32_t first, const std::vector<std::int32_t>& pages) {
  const auto rows = static_cast<std::int32_t>(tokens.size());
  seqs_.push_back({static_cast<std::int32_t>(tokens_.size()), rows, first, pages.data()});
  for (std::int32_t position = first; position < first + rows; ++position) {
    const std::int32_t page = pages[static_cast<std::size_t>(position / page_size_)];
    positions_.push_back(position);
    slots_.push_back(static_cast<std::int64_t>(page) * page_size_ + position % page_size_);
  }
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  logit_rows_.push_back(static_cast<std::int32_t>(tokens_.size()) - 1);
}

Status DraftRows::run(Model& model, KvCache& cache, std::span<const float> hidden_in, std::span<float> hidden_out) {
  const std::int64_t vocab = model.vocab_size();
  const std::size_t bytes = logit_rows_.size() * static_cast<std::size_t>(vocab) * sizeof(float);
  if (logits_.bytes() < bytes) logits_ = device_.allocate_pinned(bytes);
  if (!logits_) return resource_exhausted("no memory for the logits of a draft");
  vocab_ = static_cast<std::size_t>(vocab);
  ForwardInput input{tokens_, positions_, slots_, seqs_, logit_rows_};
  input.branches = branches_;
  input.hidden_in = hidden_in;
  input.hidden_out = hidden_out;
  try {
    return model.forward(
        input, cache,
        {reinterpret_cast<float*>(logits_.data()), static_cast<std::int64_t>(logit_rows_.size()), vocab, vocab});
  } catch (const std::exception& error) {
    return internal_error(what_ + " threw: " + error.what());
  }
}

std::span<const float> DraftRows::logits(std::size_t part) const {
  return {reinterpret_cast<const float*>(logits_.data()) + part * vocab_, vocab_};
}

bool extend(Draft& draft, const DraftAsk& ask, const GuessedToken& best, double& probability) {
  if (best.token < 0) return false;
  draft.tokens.reserve(static_cast<std::size_t>(ask.most));
  draft.tokens.push_back(best.token);
  draft.sure.push_back(best.probability);
  probability *= best.probability;
  return static_cast<std::int32_t>(draft.tokens.size()) < ask.most && probability >= ask.least_probability;
}

void give_up(std::span<Draft> drafts, const std::string& what, const Status& why) {
  for (Draft& draft : drafts) draft = {};
  log_error(what + " failed, decoding goes on without it: " + why.to_string());
}

}  // namespace foregate
