// What `foregate inspect` says of a packed model whose experts need not all be in memory: memory and tokens per second
// at a few budgets.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/cost_model.h"
#include "engine/model/summary.h"

namespace foregate {

struct BudgetLine {
  int percent = 0;
  std::int64_t expert_bytes = 0;
  std::int64_t memory_bytes = 0;  // dense weights, experts, KV cache
  double hit_rate = 0.0;
  DecodeEstimate decode;  // zeros without costs
};

struct BudgetTable {
  std::vector<BudgetLine> lines;
  std::string hits_by;  // what the hit rates are assumed or measured by
  std::optional<CostModel> costs;
  std::string why_no_costs;  // when there are none
};

// `kv_bytes` of the memory plan; `trace`: a file whose replay gives the hit rates (policy auto, begun as the trace
// did), empty: every expert is as likely as another. Fails as reading the trace does, and kInvalidArgument for one of
// another model.
Result<BudgetTable> plan_budgets(const ModelSummary& summary, const std::string& dir, std::int64_t kv_bytes,
                                 const std::string& trace);
void print_budgets(const BudgetTable& table);
nlohmann::ordered_json budgets_json(const BudgetTable& table);

}  // namespace foregate
