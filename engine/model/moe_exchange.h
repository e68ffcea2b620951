// The MoE block with experts shared among ranks: rank 0 sends rows to the ranks that hold their experts, runs its own,
// and combines what comes back in slot order. The same kernels on the same rows, so the same bits as moe_resident.h.
// Every rank may have its experts in a store of its own. Owned by the transformer of rank 0.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/device_exchange.h"
#include "engine/model/draft_routes.h"
#include "engine/model/expert_ranks.h"
#include "engine/model/expert_rows.h"
#include "engine/model/model_weights.h"
#include "engine/model/step.h"

namespace foregate {

class MoeExchange {
 public:
  // `ranks` must outlive this; its plan must fit the config, and `weights` hold what it gives rank 0.
  // `device`: rows are in its memory, which the host does not see; null: in the host's.
  MoeExchange(const ModelConfig& config, std::int32_t max_rows, ExpertRanks& ranks,
              std::unique_ptr<DeviceExchange> device = nullptr);

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
  // Rows of drafts that stood, layer after layer: the ranks whose experts they used are told with the next rows of the
  // layer, and the placement at once. A rank that gets none for long hears of the newest alone.
  void stood(const DraftRoutes::Stood& stood);

 private:
  struct Part {  // of one rank in the layer that runs
    ExpertRows rows;
    std::vector<std::int32_t> from;  // the step's rows that are sent
    std::vector<std::int32_t> out_rows;
    std::shared_ptr<RankLine> line;  // set while an answer is due
    std::vector<std::byte> body;
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

  void adopt(const PlacementPlan& plan);
  void choose_owners(const StepScratch& scratch, LayerId id);
  void divide(const Step& step, LayerId id, const ModelWeights& weights);
  void add_group(const ExpertGroup& group, std::int32_t expert, std::int32_t drafted, Part& part);
  void count_routes(const Step& step, LayerId id, const ModelWeights& weights);
  void begin_own(const Step& step, LayerId id, ExpertStore& store);
  Status run_own(const Step& step, LayerId id, const ModelWeights& weights);
  Status send(const Step& step, TimeNs deadline);
  Status receive(const Step& step, TimeNs deadline);
  Status receive_part(const Step& step, std::size_t rank, TimeNs deadline, Status& failed);
  Status find_links();
  Status send_from_device(const Step& step, TimeNs deadline);
  Status send_part(const Step& step, Part& part, const std::byte* host, TimeNs deadline);
  Status take_outputs(const Step& step, Part& part, std::span<const std::byte> outputs, TimeNs deadline);
  Status finish_peers(TimeNs deadline);

  ExpertRanks& ranks_;
  const std::unique_ptr<DeviceExchange> device_;
  ExpertRowsLimits limits_;
  std::vector<std::vector<std::int32_t>> owners_;  // [layer][expert]: 0 where it has a copy, else the home
  // Of experts that rank 0 lacks and several others have: all of those.
  std::map<ExpertKey, std::vector<std::int32_t>> holders_;
  std::vector<std::int32_t> group_owners_;  // of the layer that runs
  std::vector<std::int64_t> load_;          // by rank: rows of its experts there
  std::vector<Part> parts_;                 // by rank; that of rank 0 is not used
  Own own_;
  std::vector<std::vector<std::vector<StoodRows>>> stood_;  // [rank][layer]: not told yet
  std::vector<std::int32_t> routed_;                        // ids of rows that are no draft's
  std::vector<std::int32_t> sent_as_;                       // by row of the step, for one part: its place there, or -1
  std::uint64_t epoch_ = 0;
  Crossed crossed_;
};

}  // namespace foregate
