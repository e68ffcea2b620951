// The MoE block with experts shared among ranks: rank 0 sends rows to the ranks that hold their experts, runs its own,
// and combines what comes back in slot order. The same kernels on the same rows, so the same bits as moe_resident.h.
// Every rank may have its experts in a store of its own. Owned by the transformer of rank 0.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/device_exchange.h"
#include "engine/model/draft_routes.h"
#include "engine/model/exchange_parts.h"
#include "engine/model/expert_ranks.h"
#include "engine/model/expert_rows.h"
#include "engine/model/model_weights.h"
#include "engine/model/overlap_gain.h"
#include "engine/model/step.h"

namespace foregate {

class MoeExchange {
 public:
  // `ranks` must outlive this; its plan must fit the config, and `weights` hold what it gives rank 0.
  // `device`: rows are in its memory, which the host does not see, and exchanges do not overlap; null: in the host's.
  // `least_part_bytes`: of a message where exchanges go in several.
  MoeExchange(const ModelConfig& config, std::int32_t max_rows, ExpertRanks& ranks,
              OverlapMode overlap = OverlapMode::kOff, std::unique_ptr<DeviceExchange> device = nullptr,
              std::int64_t least_part_bytes = kLeastPartBytes);

  // Before each step: takes over a plan that the ranks have for it; what the store read ahead for a step that another
  // rank failed is given up.
  void begin_step(ExpertStore* store);
  // What the placement and the map of experts go by, of a layer that did not run here; after group_by_expert().
  void note_routes(const Step& step, LayerId id, const ModelWeights& weights);
  ExpertRanks& ranks() { return ranks_; }
  std::uint64_t next_epoch() { return ++epoch_; }  // of a message on one of the lines
  // scratch.delta = MoE(scratch.normed) of layer `id`; the number of experts that ran. kUnavailable names the rank
  // that does not serve. After an error no answer is outstanding.
  Result<int> run(const Step& step, LayerId id, const ModelWeights& weights);
  // The same in two pieces, for half 1 or 2 of a step whose halves take turns: what begin_half() sent is computed
  // elsewhere until end_half(), while the other half runs here. No experts in a store; who is told of routes is told of
  // the whole step, by note_routes(). After an error give_up() leaves no answer outstanding.
  Status begin_half(const Step& step, LayerId id, const ModelWeights& weights, std::int32_t half);
  Status end_half(LayerId id, const ModelWeights& weights, std::int32_t half);
  void give_up();
  // Of the exchanges from here on: kOff or kChunks.
  void take(OverlapMode way) {
    overlap_ = way;
    ran_ = OverlapMode::kOff;
    spent_ = {};
  }
  // Whether an exchange of a step of so many rows could go in several messages, were all its experts on one rank.
  bool may_cut(std::int64_t rows) const {
    return device_ == nullptr && rows * (1 + limits_.top_k) >= 2 * least_part_rows_;
  }
  OverlapMode ran() const { return ran_; }  // since then: kChunks when any went in several messages
  // Since then, of layers that ran whole: what was waited for, exchanges and bytes.
  const StepSpent& spent() const { return spent_; }
  // Rows of drafts that stood, layer after layer: the ranks whose experts they used are told with the next rows of the
  // layer, and the placement at once. A rank that gets none for long hears of the newest alone.
  void stood(const DraftRoutes::Stood& stood);

 private:
  struct PartEnd {  // of what one message brings: up to here of the share's groups, rows and outputs
    std::size_t groups = 0, rows = 0, outputs = 0;
  };
  struct Share {  // of one rank in the layer that runs
    ExpertRows rows;
    std::vector<std::int32_t> from;  // the step's rows that are sent
    std::vector<std::int32_t> out_rows;
    std::vector<PartEnd> groups;     // where each group ends
    std::vector<PartEnd> parts;      // where each message ends
    std::shared_ptr<RankLine> line;  // set while answers are due
    std::size_t due = 0;             // how many, from the first part on
    // Of a device (moe_exchange_device.cpp).
    RankLink link;  // `peers` until they are done
    const float* sent = nullptr;
  };

  struct Own {  // what rank 0 runs itself
    std::vector<ExpertGroup> groups;
    std::vector<std::int32_t> experts;       // ascending
    std::vector<std::int32_t> rows;          // of each
    std::vector<std::int32_t> decode_rows;   // of them, in a step with prompts
    std::vector<std::int32_t> drafted_rows;  // of them, in a step with drafts
  };

  // A layer of a step, or of half of one, under way.
  struct Flight {
    const Step* step = nullptr;
    std::vector<Share> shares;  // by rank; that of rank 0 is not used
    Own own;
    std::uint64_t first_epoch = 0;  // of the first part; those after it have the next ones
    TimeNs deadline = 0;
    Crossed crossed;
  };

  void adopt(const PlacementPlan& plan);
  void choose_owners(const StepScratch& scratch, LayerId id);
  void route(const Step& step, LayerId id, const ModelWeights& weights);
  void divide(const Step& step, LayerId id, const ModelWeights& weights, std::int32_t half);
  void add_group(const ExpertGroup& group, std::int32_t expert, std::int32_t drafted, Share& share);
  void count_routes(const Step& step, LayerId id, const ModelWeights& weights);
  void begin_own(const Step& step, LayerId id, ExpertStore& store, Own& own);
  Status run_own(const Step& step, LayerId id, const ModelWeights& weights, Own& own);
  std::size_t cut_shares(Flight& flight);
  Flight& flight_of(std::int32_t half) { return flights_[half == 2 ? 1 : 0]; }
  Status send(Flight& flight);
  static ExpertRows part_of(Share& share, std::size_t part);
  Status send_part(Flight& flight, RankId rank, std::size_t part);
  Status receive(Flight& flight);
  Status receive_part(Flight& flight, std::size_t rank, std::size_t part, Status& failed);
  void begin_flight(Flight& flight, std::size_t messages);
  Status find_links(Flight& flight);
  Status send_from_device(Flight& flight);
  Status send_share(Flight& flight, Share& share, const std::byte* host);
  Status take_outputs(Flight& flight, Share& share, std::span<const std::byte> outputs);
  Status finish_peers(Flight& flight);

  ExpertRanks& ranks_;
  const std::unique_ptr<DeviceExchange> device_;
  ExpertRowsLimits limits_;
  std::vector<std::vector<std::int32_t>> owners_;  // [layer][expert]: 0 where it has a copy, else the home
  // Of experts that rank 0 lacks and several others have: all of those.
  std::map<ExpertKey, std::vector<std::int32_t>> holders_;
  std::vector<std::int32_t> group_owners_;  // of the layer that runs
  std::vector<std::int64_t> load_;          // by rank: rows of its experts there
  OverlapMode overlap_;
  OverlapMode ran_ = OverlapMode::kOff;
  StepSpent spent_;
  const std::int64_t least_part_rows_;
  std::vector<std::int32_t> sizes_;  // of the groups of a share, for one cut
  std::array<Flight, 2> flights_;    // a step that runs whole uses the first
  std::vector<std::byte> body_;
  std::vector<std::vector<std::vector<StoodRows>>> stood_;  // [rank][layer]: not told yet
  std::vector<std::int32_t> routed_;                        // ids of rows that are no draft's
  std::vector<std::int32_t> sent_as_;                       // by row of the step, for one share: its place there, or -1
  std::uint64_t epoch_ = 0;
};

}  // namespace foregate
