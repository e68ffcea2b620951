#include "tests/sim/sim_model.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

namespace foregate::sim {
namespace {

constexpr std::int32_t kHeadDim = 4;      // of floats: token, position, and the two halves of the hash
constexpr std::int32_t kNotFinite = -77;  // as a position: what was computed there is not a number

std::int64_t slot_of(const SeqSpan& seq, std::int32_t position, std::int32_t block_size) {
  return static_cast<std::int64_t>(seq.block_table[position / block_size]) * block_size + position % block_size;
}

}  // namespace

KvLayout SimModel::kv_layout(DType type, std::int32_t block_size) const {
  KvLayout layout;
  const LayerKv full{.kv_heads = 1, .head_dim = kHeadDim};
  const LayerKv windowed{
      .kind = KvKind::kSlidingWindow, .kv_heads = 1, .head_dim = kHeadDim, .window = window_.positions};
  if (window_.mixed || window_.positions == 0) layout.layers.push_back(full);
  if (window_.positions > 0) layout.layers.push_back(windowed);
  layout.type = type;
  layout.block_size = block_size;
  return layout;
}

SimModel::Slot SimModel::read(const KvPages& pages, std::int64_t slot) const {
  Slot value;
  static_assert(sizeof(Slot) == kHeadDim * sizeof(float));
  std::memcpy(static_cast<void*>(&value), static_cast<const float*>(pages.v) + slot * kHeadDim, sizeof(value));
  return value;
}

void SimModel::write(const KvPages& pages, std::int64_t slot, const Slot& value) {
  std::memcpy(static_cast<float*>(pages.v) + slot * kHeadDim, &value, sizeof(value));
}

std::uint64_t SimModel::contents(std::int32_t block, KvGroup group) const {
  std::uint64_t hash = kNoHistory;
  for (const Layer& layer : layers_) {
    if (layer.group != group) continue;
    for (std::int32_t i = 0; i < layer.pages.block_size; ++i) {
      const Slot slot = read(layer.pages, std::int64_t{block} * layer.pages.block_size + i);
      hash = mix(mix(hash, slot.hash), static_cast<std::uint64_t>(slot.position));
    }
  }
  return hash;
}

// The planted bug: layers with a window go by the blocks of the others.
void SimModel::look_at(const ForwardInput& input, const KvCache& cache) {
  layers_.clear();
  const KvLayout& layout = cache.layout();
  if (layout.grouped == input.window_seqs.empty()) ledger_.broke("blocks of a group that is not there, or none of one");
  for (std::size_t i = 0; i < layout.layers.size(); ++i) {
    Layer layer;
    layer.pages = cache.pages(LayerId{static_cast<std::int32_t>(i)});
    layer.group = layout.group_of(layout.layers[i]);
    layer.window = layout.layers[i].window;
    const bool own = layer.group == KvGroup::kWindow && ledger_.plant() != Plant::kMixesGroups;
    layer.seqs = own ? input.window_seqs : input.seqs;
    layer.slots = own ? input.window_slots : input.slot_mapping;
    layers_.push_back(layer);
  }
}

std::size_t SimModel::seq_of_row(const ForwardInput& input, std::int32_t row) const {
  const auto found = std::ranges::find_if(
      input.seqs, [row](const SeqSpan& seq) { return row >= seq.first_row && row < seq.first_row + seq.rows; });
  return static_cast<std::size_t>(found - input.seqs.begin());
}

std::span<const std::int32_t> SimModel::last_experts(std::uint64_t request) const {
  const std::uint64_t bits = mix(request, steps_);
  std::vector<std::int32_t>& experts = experts_[request];
  experts.clear();
  for (int i = 0; i < 3 && bits % 5 != 0; ++i) experts.push_back(static_cast<std::int32_t>(bits >> (3 * i + 8)) & 7);
  return experts;
}

std::span<const std::uint8_t> SimModel::resident_experts() {
  resident_.clear();
  if (experts_on_disk_) {
    for (std::int32_t i = 0; i < kExperts; ++i) resident_.push_back(experts_on_disk_->resident(i) ? 1 : 0);
    return resident_;
  }
  for (int i = 0; i < 8; ++i) resident_.push_back(mix(steps_ / 4, static_cast<std::uint64_t>(i)) % 3 == 0 ? 1 : 0);
  return resident_;
}

std::optional<ExpertFigures> SimModel::expert_figures() const {
  ExpertFigures figures;
  figures.slots = 3;
  figures.slot_bytes = 3000;
  figures.costed_read_rate = 1e6;
  return figures;
}

// The planted bug: the window is one position wider than the engine was told, so blocks are given up too early.
std::int32_t SimModel::first_read(const SeqSpan& seq, const Layer& layer) const {
  if (layer.window == 0) return 0;
  const std::int32_t seen = layer.window + (ledger_.plant() == Plant::kGivesUpEarly ? 1 : 0);
  return std::max(0, seq.first_position - seen + 1);
}

Status SimModel::forward(const ForwardInput& input, KvCache& cache, View2<float> logits) {
  look_at(input, cache);
  ++steps_;
  if (slots_) slots_->step();
  clock_.advance(1'000'000 + 10'000 * static_cast<TimeNs>(input.tokens.size()));
  if (dice_.chance(faults_.is_slow)) clock_.advance(1'000'000'000);
  check_who(input);
  for (const Layer& layer : layers_) check_slots(layer);
  const Status ran = ledger_.broken() ? internal_error("nothing is judged any more") : compute(input, logits);
  ledger_.step_ends(ran);
  if (broken_) ledger_.engine_failed = true;
  if (ran.ok() && dice_.chance(faults_.loses)) lose_row(input, logits);
  return ran;
}

Status SimModel::compute(const ForwardInput& input, View2<float> logits) {
  if (dice_.chance(faults_.dies)) broken_ = true;
  if (broken_) return internal_error("the device is gone");
  if (dice_.chance(faults_.fails)) {
    const std::int32_t kind = faults_.drawn ? dice_.range(0, 3) : 0;
    for (const Layer& layer : layers_) {
      for (std::int64_t slot : layer.slots) {
        if (kind % 2 == 0) write(layer.pages, slot, {-1, -1, 13});  // it had begun
      }
    }
    if (kind == 0) return internal_error("an injected fault");
    return kind == 1 ? data_loss("an expert that is damaged") : unavailable("a disk that does not answer");
  }
  if (experts_on_disk_) {
    std::set<std::int32_t> used;
    for (const std::uint64_t request : input.requests) {
      const std::span<const std::int32_t> its = last_experts(request);
      used.insert(its.begin(), its.end());
    }
    RETURN_IF_ERROR(experts_on_disk_->run(used));
  }
  hashes_.assign(input.tokens.size(), 0);
  for (const Layer& layer : layers_) {
    for (const SeqSpan& seq : layer.seqs) run_rows(input, seq, layer);
  }
  for (std::size_t i = 0; i < input.logit_rows.size(); ++i) {
    float* row = logits.data + static_cast<std::int64_t>(i) * logits.stride;
    fill_logits(hashes_[static_cast<std::size_t>(input.logit_rows[i])], {row, static_cast<std::size_t>(kVocab)});
  }
  return {};
}

void SimModel::run_rows(const ForwardInput& input, const SeqSpan& seq, const Layer& layer) {
  const KvPages& pages = layer.pages;
  std::uint64_t hash = kNoHistory;
  const std::int32_t first = first_read(seq, layer);
  for (std::int32_t p = first; p < seq.first_position; ++p) {
    if (seq.block_table[p / pages.block_size] < 0) return ledger_.broke("a row reads a block that was given up");
    const Slot slot = read(pages, slot_of(seq, p, pages.block_size));
    hash = p == first && p > 0 ? slot.hash : mix(hash, static_cast<std::uint64_t>(slot.token));
    if (slot.position != p || slot.hash != hash) return ledger_.broke("a step reads a slot that holds something else");
  }
  for (std::int32_t i = 0; i < seq.rows; ++i) {
    const auto row = static_cast<std::size_t>(seq.first_row + i);
    hash = hashes_[row] = mix(hash, static_cast<std::uint64_t>(input.tokens[row]));
    const std::int64_t slot = layer.slots[row];
    const std::int32_t position = seq.first_position + i;
    const bool keeps = ledger_.plant() == Plant::kKeepsOldSlot && read(pages, slot).position == position;
    const bool next = ledger_.plant() == Plant::kWritesNextSlot && slot % pages.block_size == 0 && pages.block_size > 1;
    if (!keeps) write(pages, slot + (next ? 1 : 0), {input.tokens[row], position, hash});
  }
  // Attention multiplies what it does not look at by zero, and that is no zero where it is not finite.
  for (std::int32_t p = first / pages.block_size * pages.block_size;
       p < (seq.first_position + seq.rows - 1) / pages.block_size * pages.block_size + pages.block_size; ++p) {
    if (read(pages, slot_of(seq, p, pages.block_size)).position == kNotFinite) {
      return ledger_.broke("a block that a step reads holds numbers that are not finite");
    }
  }
}

void SimModel::check_who(const ForwardInput& input) {
  for (std::uint64_t id : input.requests) {
    const Client* client = ledger_.of_request(id);
    if (client == nullptr || !client->live()) return ledger_.broke("a row for a request that is not live");
    if (client->paused && ledger_.turn >= client->paused_at) return ledger_.broke("a row for a reader that is paused");
    const TimeNs deadline = client->request.deadline;
    if (deadline != 0 && ledger_.turn_began >= deadline) return ledger_.broke("a row for a request that is too late");
  }
}

// Each row has a slot of its own, in a block that nobody else reads in this step (INV-4, INV-18).
void SimModel::check_slots(const Layer& layer) {
  const KvPages& pages = layer.pages;
  std::vector<std::int32_t> writer(static_cast<std::size_t>(pages.num_blocks), -1);
  std::vector<std::int64_t> slots(layer.slots.begin(), layer.slots.end());
  std::ranges::sort(slots);
  if (std::ranges::adjacent_find(slots) != slots.end()) ledger_.broke("two rows have one slot");
  for (std::size_t s = 0; s < layer.seqs.size(); ++s) {
    const SeqSpan& seq = layer.seqs[s];
    for (std::int32_t i = 0; i < seq.rows; ++i) {
      const auto row = static_cast<std::size_t>(seq.first_row + i);
      if (layer.slots[row] != slot_of(seq, seq.first_position + i, pages.block_size)) {
        return ledger_.broke("a slot that is not where the block table says");
      }
      if (layer.slots[row] < 0 || layer.slots[row] >= pages.num_blocks * pages.block_size) {
        return ledger_.broke("a slot that is not there");
      }
      writer[static_cast<std::size_t>(layer.slots[row] / pages.block_size)] = static_cast<std::int32_t>(s);
    }
  }
  for (std::size_t s = 0; s < layer.seqs.size(); ++s) {
    const SeqSpan& seq = layer.seqs[s];
    for (std::int32_t b = first_read(seq, layer) / pages.block_size;
         b * pages.block_size < seq.first_position + seq.rows; ++b) {
      if (seq.block_table[b] < 0) continue;  // run_rows() says so
      if (seq.block_table[b] >= pages.num_blocks) return ledger_.broke("a block that is not there");
      const std::int32_t by = writer[static_cast<std::size_t>(seq.block_table[b])];
      if (by >= 0 && by != static_cast<std::int32_t>(s))
        return ledger_.broke("a block is written that another one reads");
    }
  }
}

void SimModel::lose_row(const ForwardInput& input, View2<float> logits) {
  if (input.logit_rows.empty()) return;
  const std::int32_t most = static_cast<std::int32_t>(input.logit_rows.size()) - 1;
  const std::int32_t at = faults_.drawn ? dice_.range(0, most) : 0;
  for (std::int32_t i = at; i <= std::min(most, ledger_.plant() == Plant::kNanSpreads ? at + 1 : at); ++i) {
    const std::int32_t row = input.logit_rows[static_cast<std::size_t>(i)];
    const SeqSpan& seq = input.seqs[seq_of_row(input, row)];
    logits.data[i * logits.stride + dice_.range(0, kVocab - 1)] = std::numeric_limits<float>::quiet_NaN();
    const std::int32_t position = seq.first_position + row - seq.first_row;
    for (const Layer& layer : layers_) {
      const SeqSpan& there = layer.seqs[seq_of_row(input, row)];
      write(layer.pages, slot_of(there, position, layer.pages.block_size), {-1, kNotFinite, 17});
    }
    if (i > at) continue;
    const PlanEntry& entry = ledger_.plan().entries[seq_of_row(input, row)];
    ledger_.of(entry.seq).sample->may_lose_row = entry.draft == 0;  // INV-20: a draft may be its cause
  }
}

}  // namespace foregate::sim
