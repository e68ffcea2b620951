#include "engine/model/cost_keeper.h"

#include <algorithm>
#include <span>
#include <utility>

#include "engine/base/log.h"
#include "engine/io/file.h"
#include "engine/model/sidecar_file.h"

namespace foregate {
namespace {

constexpr const char* kCostsName = "expert-costs.bin";
constexpr std::uint64_t kMaxCostsBytes = std::uint64_t{4} << 20;

}  // namespace

Result<std::vector<CostEntry>> load_costs(const std::string& dir, std::uint64_t weights_id) {
  const std::string path = dir + "/" + kCostsName;
  if (!local_files().exists(path)) return std::vector<CostEntry>();
  ASSIGN_OR_RETURN(const std::string text, read_text(local_files(), path, kMaxCostsBytes));
  return read_cost_file(std::as_bytes(std::span(text)), weights_id, path);
}

Result<std::unique_ptr<CostKeeper>> CostKeeper::open(const CostKeeping& keeping,
                                                     const std::function<Result<CostModel>()>& measure) {
  if (!keeping.dir.empty()) {
    const auto entries = load_costs(keeping.dir, keeping.weights_id);
    if (!entries.ok()) log_warn("costs that an earlier start measured are not taken: " + entries.status().message());
    const CostModel* known = entries.ok() ? find_costs(entries.value(), keeping.machine) : nullptr;
    if (known != nullptr) return std::unique_ptr<CostKeeper>(new CostKeeper(keeping, *known, false));
  }
  ASSIGN_OR_RETURN(CostModel costs, measure());
  std::unique_ptr<CostKeeper> keeper(new CostKeeper(keeping, std::move(costs), true));
  if (const Status status = keeper->save(); !status.ok()) {
    log_info("costs of experts are not kept: " + status.message());
    keeper->writable_ = false;
  }
  return keeper;
}

CostKeeper::~CostKeeper() {
  if (!observed_ || !writable_) return;
  if (const Status status = save(); !status.ok()) log_info("costs of experts are not kept: " + status.message());
}

// Other machines' entries stay.
Status CostKeeper::save() const {
  if (keeping_.dir.empty()) return {};
  auto loaded = load_costs(keeping_.dir, keeping_.weights_id);
  std::vector<CostEntry> entries = loaded.ok() ? std::move(loaded).value() : std::vector<CostEntry>();
  put_costs(entries, {keeping_.machine, costs_});
  return write_sidecar(keeping_.dir, kCostsName, write_cost_file(entries, keeping_.weights_id));
}

void CostKeeper::observe(const TransferStats& moved, std::uint64_t layers) {
  const TransferStats before = std::exchange(last_, moved);
  const std::uint64_t loads = moved.loads - before.loads;
  if (loads == 0 || layers == 0) return;
  const std::uint64_t bytes = moved.all_bytes - before.all_bytes;
  const std::uint64_t expert = (moved.bytes - before.bytes) / loads;
  const double together = static_cast<double>(loads) / static_cast<double>(layers);
  costs_.observe(bytes, moved.busy_seconds - before.busy_seconds,
                 static_cast<double>(std::min(expert, costs_.chunk_bytes)), costs_.depth_of(together, expert));
  observed_ = true;
}

}  // namespace foregate
