#include "engine/model/draft_routes.h"

#include <algorithm>

#include "engine/model/expert_tally.h"

namespace foregate {
namespace {

std::int32_t owner_of(const Step& step, std::int32_t expert, std::span<const std::int32_t> owners) {
  if (owners.empty()) return 0;
  const std::vector<std::int32_t>& experts = step.scratch.group_experts;
  return owners[static_cast<std::size_t>(std::ranges::lower_bound(experts, expert) - experts.begin())];
}

}  // namespace

DraftRoutes::DraftRoutes(const ModelConfig& config) : top_k_(static_cast<std::size_t>(config.router.top_k)) {}

void DraftRoutes::forget() {
  seqs_ = step_rows_ = noted_ = 0;
  rows_.clear();
}

void DraftRoutes::begin(const Step& step) {
  forget();
  step_ = step.number;
  seqs_ = step.input.seqs.size();
  step_rows_ = static_cast<std::size_t>(step.rows);
  for (std::size_t seq = 0; seq < seqs_; ++seq) {
    const std::int32_t end = step.input.seqs[seq].first_row + step.input.seqs[seq].rows;
    const std::int32_t drafted = step.drafted(seq);
    for (std::int32_t place = 1; place <= drafted; ++place) rows_.push_back({end - drafted + place - 1, seq, place});
  }
}

bool DraftRoutes::take_places(std::span<const std::int32_t> places) {
  if (places.size() != rows_.size()) return false;
  for (std::size_t i = 0; i < rows_.size(); ++i) rows_[i].place = places[i];
  return true;
}

void DraftRoutes::note(const Step& step, LayerId id, const ExpertStore* store, const DeviceTier* tier,
                       std::span<const std::int32_t> owners) {
  if (noted_ == layers_.size()) layers_.emplace_back();
  Layer& layer = layers_[noted_++];
  layer.id = id;
  layer.choices.clear();
  for (const Row& row : rows_) {
    const std::int32_t* ids = step.scratch.route.host_ids + static_cast<std::size_t>(row.row) * top_k_;
    for (std::size_t i = 0; i < top_k_; ++i) {
      const ExpertKey key{id, ExpertId{ids[i]}};
      const bool on_tier = tier != nullptr && tier->held(key);
      const std::int32_t owner = owner_of(step, ids[i], owners);
      layer.choices.push_back({ids[i], static_cast<std::uint8_t>(expert_found(key, store, tier, owner)),
                               static_cast<std::uint8_t>(on_tier), owner});
    }
  }
}

// Of one place of the drafts, the experts of those that stood so far, each once.
void DraftRoutes::gather(const Layer& layer, std::span<const std::int32_t> stood, std::int32_t place) {
  choices_.clear();
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].place != place || stood[rows_[i].seq] < place) continue;
    const auto first = layer.choices.begin() + static_cast<std::ptrdiff_t>(i * top_k_);
    choices_.insert(choices_.end(), first, first + static_cast<std::ptrdiff_t>(top_k_));
  }
  ids_.clear();
  for (const Choice& choice : choices_) ids_.push_back(choice.expert);
  std::ranges::stable_sort(choices_, {}, &Choice::expert);
  experts_.clear();
  counts_.clear();
  found_.clear();
  on_tier_.clear();
  owners_.clear();
  for (const Choice& choice : choices_) {
    if (!experts_.empty() && experts_.back() == choice.expert) {
      ++counts_.back();
      continue;
    }
    experts_.push_back(choice.expert);
    counts_.push_back(1);
    found_.push_back(choice.found);
    on_tier_.push_back(choice.on_tier);
    owners_.push_back(choice.owner);
  }
}

void DraftRoutes::each_stood(std::span<const std::int32_t> stood, const std::function<void(const Stood&)>& each) {
  if (stood.empty() || BUG_IF(stood.size() != seqs_)) return;
  const std::int32_t longest = *std::ranges::max_element(stood);
  for (std::int32_t place = 1; place <= longest; ++place) {
    for (std::size_t i = 0; i < noted_; ++i) {
      gather(layers_[i], stood, place);
      each({.begins = i == 0,
            .use = {.step = step_, .layer = layers_[i].id, .experts = experts_, .rows = counts_},
            .found = found_,
            .on_tier = on_tier_,
            .owners = owners_,
            .ids = ids_});
    }
  }
}

std::vector<std::uint8_t> DraftRoutes::rows_that_stood(std::span<const std::int32_t> stood) const {
  std::vector<std::uint8_t> rows(step_rows_, 0);
  for (const Row& row : rows_) {
    rows[static_cast<std::size_t>(row.row)] = static_cast<std::uint8_t>(row.place > 0 && stood[row.seq] >= row.place);
  }
  return rows;
}

}  // namespace foregate
