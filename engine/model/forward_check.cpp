#include "engine/model/forward_check.h"

#include <span>

namespace foregate {
namespace {

bool inside(std::int64_t value, std::int64_t size) {
  return value >= 0 && value < size;
}

Status check_slots(std::span<const std::int64_t> slots, std::int64_t end) {
  for (const std::int64_t slot : slots) {
    if (!inside(slot, end)) return internal_error("a cache slot is outside the cache");
  }
  return {};
}

Status check_rows(const ModelConfig& config, const ForwardInput& input) {
  for (std::size_t i = 0; i < input.tokens.size(); ++i) {
    if (!inside(input.tokens[i], config.vocab_size)) return internal_error("a token id is outside the vocabulary");
    if (!inside(input.positions[i], INT32_MAX)) return internal_error("a position is negative");
  }
  return {};
}

// The block before which no layer of the group reads, of rows from `position` on.
std::int64_t first_read(const KvCache& cache, KvGroup group, std::int64_t position) {
  const std::int64_t window = cache.layout().window(group);
  return window > 0 && position >= window ? (position - window + 1) / cache.layout().block_size : 0;
}

Status check_table(const SeqSpan& span, const KvCache& cache, KvGroup group) {
  const std::int64_t blocks = (span.first_position + span.rows - 1) / cache.layout().block_size + 1;
  for (std::int64_t b = first_read(cache, group, span.first_position); b < blocks; ++b) {
    if (!inside(span.block_table[b], cache.num_blocks(group))) return internal_error("a block is outside the cache");
  }
  return {};
}

// The same rows in blocks of the window group.
Status check_window(const ForwardInput& input, const KvCache& cache) {
  if (!cache.layout().grouped) {
    return input.window_seqs.empty() ? Status() : internal_error("the cache has no blocks of a window");
  }
  if (input.window_seqs.size() != input.seqs.size() || input.window_slots.size() != input.tokens.size()) {
    return internal_error("the rows of the window's blocks are others");
  }
  for (std::size_t i = 0; i < input.seqs.size(); ++i) {
    const SeqSpan& span = input.window_seqs[i];
    const SeqSpan& same = input.seqs[i];
    if (span.first_row != same.first_row || span.rows != same.rows || span.first_position != same.first_position) {
      return internal_error("the rows of the window's blocks are others");
    }
    RETURN_IF_ERROR(check_table(span, cache, KvGroup::kWindow));
  }
  return check_slots(input.window_slots, cache.num_blocks(KvGroup::kWindow) * cache.layout().block_size);
}

Status check_positions(const ForwardInput& input, const SeqSpan& span) {
  for (std::int32_t i = 0; i < span.rows; ++i) {
    if (input.positions[static_cast<std::size_t>(span.first_row + i)] != span.first_position + i) {
      return internal_error("a sequence's positions are not consecutive");
    }
  }
  return {};
}

// The rows of the step again, in order, by branch.
Status check_branches(const ForwardInput& input, std::span<const SeqSpan> branches, const KvCache& cache,
                      KvGroup group) {
  const std::int64_t slots = cache.num_blocks(group) * cache.layout().block_size;
  std::int64_t covered = 0;
  for (const SeqSpan& span : branches) {
    if (span.rows <= 0 || span.first_row != covered || span.rows > std::ssize(input.tokens) - covered) {
      return internal_error("the branches of the step do not cover its rows");
    }
    covered += span.rows;
    RETURN_IF_ERROR(check_positions(input, span));
    const std::int32_t end = span.first_position + span.rows;
    SeqSpan whole = span;  // what the table is asked for
    if (span.tail_slots != nullptr) {
      if (!inside(span.tail_first, end) || span.tail_first == 0) {
        return internal_error("a branch begins outside its sequence");
      }
      RETURN_IF_ERROR(check_slots({span.tail_slots, static_cast<std::size_t>(end - span.tail_first)}, slots));
      whole.rows = span.tail_first - span.first_position;
    }
    RETURN_IF_ERROR(check_table(whole, cache, group));
  }
  return covered == std::ssize(input.tokens) ? Status()
                                             : internal_error("the branches of the step do not cover its rows");
}

Status check_spans(const ForwardInput& input, const KvCache& cache) {
  const auto rows = static_cast<std::int64_t>(input.tokens.size());
  std::int64_t covered = 0;
  for (const SeqSpan& span : input.seqs) {
    if (span.rows <= 0 || !inside(span.first_row, rows) || span.rows > rows - span.first_row) {
      return internal_error("a sequence's rows are outside the step");
    }
    covered += span.rows;
    if (input.branches.empty()) RETURN_IF_ERROR(check_positions(input, span));
    RETURN_IF_ERROR(check_table(span, cache, KvGroup::kMain));
  }
  return covered == rows ? Status() : internal_error("the sequences do not cover the rows of the step");
}

}  // namespace

Status check_forward(const ModelConfig& config, std::int64_t max_rows, const ForwardInput& input, const KvCache& cache,
                     const View2<float>& logits) {
  const std::size_t rows = input.tokens.size();
  if (input.positions.size() != rows || input.slot_mapping.size() != rows) {
    return internal_error("tokens, positions and slots differ in number");
  }
  if (static_cast<std::int64_t>(rows) > max_rows) {
    return internal_error("a step of " + std::to_string(rows) + " tokens is over the limit of " +
                          std::to_string(max_rows));
  }
  if (cache.layout().layers.size() != config.layers.size()) return internal_error("the cache is another model's");
  RETURN_IF_ERROR(check_rows(config, input));
  RETURN_IF_ERROR(check_slots(input.slot_mapping, cache.num_blocks() * cache.layout().block_size));
  RETURN_IF_ERROR(check_spans(input, cache));
  RETURN_IF_ERROR(check_window(input, cache));
  if (!input.branches.empty()) {
    RETURN_IF_ERROR(check_branches(input, input.branches, cache, KvGroup::kMain));
    if (cache.layout().grouped) {
      RETURN_IF_ERROR(check_branches(input, input.window_branches, cache, KvGroup::kWindow));
    }
  }
  for (const std::int32_t row : input.logit_rows) {
    if (!inside(row, static_cast<std::int64_t>(rows))) return internal_error("a logit row is outside the step");
  }
  if (!input.requests.empty() && input.requests.size() != input.seqs.size()) {
    return internal_error("sequences and their requests differ in number");
  }
  if (!input.drafted.empty() && input.drafted.size() != input.seqs.size()) {
    return internal_error("sequences and their drafts differ in number");
  }
  for (std::size_t i = 0; i < input.drafted.size(); ++i) {
    if (!inside(input.drafted[i], input.seqs[i].rows)) return internal_error("a draft is as long as all its rows");
  }
  const std::size_t hidden = rows * static_cast<std::size_t>(config.hidden_size);
  if (!input.hidden_out.empty() && input.hidden_out.size() != hidden) {
    return internal_error("the room for hidden states has the wrong size");
  }
  if (input.hidden_in.size() != (config.first_layer > 0 ? hidden : 0)) {
    return internal_error("the hidden states of the rows before are those of a NextN layer, all or none");
  }
  if (input.logit_rows.size() > rows) return internal_error("more logit rows than rows");
  if (logits.rows != static_cast<std::int64_t>(input.logit_rows.size()) || logits.cols != config.logits()) {
    return internal_error("the logits have the wrong shape");
  }
  return {};
}

}  // namespace foregate
