// Steps in which each row goes on where its experts are (one all-to-all, context-coherent; ExFlow, arXiv 2401.08383),
// as rank 0 runs them. A row attends where its last expert was: every rank has the dense weights, and of the context
// what its rows needed, copied from rank 0, which has all of it. Of a layer one message goes to each rank that has rows
// and one comes back; rows that leave follow. The bytes are those of one rank (INV-21). Owned by the transformer of
// rank 0.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "engine/kv/kv_cache.h"
#include "engine/model/context_mirror.h"
#include "engine/model/expert_rows.h"
#include "engine/model/moe_exchange.h"
#include "engine/model/row_messages.h"
#include "engine/model/rows_here.h"
#include "engine/placement/form_choice.h"

namespace foregate {

class RowTravel {
 public:
  // All must outlive this. `mode` is one of the last two.
  RowTravel(const ModelConfig& config, const ModelWeights& weights, StepScratch& scratch, const OpTable& ops,
            Stream& stream, MoeExchange& exchange, ExchangeMode mode);
  // kUnimplemented for models whose routers read what does not move with a row.
  static Status check(const ModelConfig& config);

  // Before every step, in whichever form: what it writes others no longer have.
  void begin_step(const Step& step, const KvCache& cache);
  // Whether the step runs in this form: each row the one of its sequence, none drafted.
  bool takes(const Step& step) const;
  // All layers of rows in scratch.hidden; scratch.normed is what the vocabulary projection reads, where wanted. Bytes
  // of the experts used. kUnavailable names the rank that does not serve; nothing is outstanding then (INV-22).
  Result<std::int64_t> run(const Step& step, KvCache& cache);
  // A layer of the step that ran in the other form; and its end.
  void observe(const Step& step, LayerId layer);
  void end_step();

 private:
  struct Away {  // rows at another rank
    std::vector<RowAt> rows;
    std::vector<std::vector<float>> normed;  // [rows] of those that need experts elsewhere, the FFN's input; else empty
    LayerRows next;                          // gathers what the next layer there needs
    std::shared_ptr<RankLine> line;          // that `open` and the mirror are about
    bool open = false;                       // it knows the size of the cache
    std::uint64_t asked = 0;                 // epoch of the answer that is due; 0: none is
  };
  struct Moved {
    RowAt at;
    RankId to;
    std::vector<float> hidden;
  };
  struct Need {  // a row with experts elsewhere: number `index` at rank `at`
    RankId at;
    std::int32_t index = 0;
    std::vector<float> normed;
  };
  struct Help {                                             // of one rank for rows of others
    std::map<std::int32_t, std::vector<OutputAt>> experts;  // outputs wanted of each; OutputAt::index is of needs_
    ExpertRows rows;
    std::vector<std::int32_t> needs;  // whose values are rows.rows
    std::vector<OutputAt> outputs;    // in the order that they come in
  };

  Status run_layers(const Step& step, KvCache& cache, std::int64_t& bytes);
  Status run_sparse(const Step& step, LayerId layer, const KvCache& cache);
  Status ask(LayerId layer, const KvCache& cache);
  void add_context(LayerId layer, const KvCache& cache, RankId rank);
  Status receive_done(LayerId layer, KvCache& cache);
  Status read_done(LayerId layer, KvCache& cache, RankId rank, std::span<const std::byte> body);
  void note_own(LayerId layer);
  Status move_rows(LayerId layer, const KvCache& cache);
  void add_need(LayerId layer, RankId rank, std::int32_t index, const RowAt& at, std::vector<float> normed);
  std::vector<float> norm_of(LayerId layer, std::vector<float> hidden);
  void find_help(LayerId layer);
  Status send_help();
  void run_own_help(LayerId layer);
  Status receive_help();
  void deliver(const OutputAt& output, const float* values);
  Status finish(const Step& step, const KvCache& cache);
  void account(const Step& step, LayerId layer);

  Away& away(RankId rank) { return away_[static_cast<std::size_t>(rank.value)]; }
  Status reach(RankId rank, const KvCache* context);          // null: it gets no rows
  Status send(RankId rank, MessageKind kind, bool answered);  // what is in body_
  Result<Message> receive(RankId rank, MessageKind kind, std::uint64_t most_bytes);
  void drain();
  std::span<const std::int32_t> ids_of(const RowAt& at) const;

  const ModelConfig& config_;
  const ModelWeights& weights_;
  StepScratch& scratch_;
  const OpTable& ops_;
  Stream& stream_;
  MoeExchange& exchange_;
  ExpertRanks& ranks_;
  const PlacementPlan plan_;
  const ExchangeMode mode_;
  FormChoice choice_;
  RowsHere own_;
  bool eligible_ = false;  // the step of begin_step()
  std::optional<ContextMirror> mirror_;
  std::vector<std::uint32_t> versions_;  // of the cache's blocks, as the mirror knows them
  std::vector<Away> away_;               // by rank; that of rank 0 is not used
  std::vector<Moved> moved_;             // in the layer that runs
  std::vector<Need> needs_;
  std::vector<Help> help_;         // by rank
  std::vector<std::int32_t> ids_;  // [rows of the step, top_k] of the layer that runs
  std::vector<float> route_weights_;
  std::vector<float> last_;  // [rows of the step, hidden]
  std::vector<std::byte> body_;
  std::uint64_t step_ = 0;
  TimeNs deadline_ = 0;
  Crossed crossed_;
};

}  // namespace foregate
