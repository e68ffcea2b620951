// The costs of a model's experts from start to stop: taken from the file beside the packed model, or measured when it
// has none of this machine; refreshed by what loads really took; saved. Engine thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/experts/cost_file.h"
#include "engine/experts/transfer.h"

namespace foregate {

// Costs that an earlier start left in a packed model's directory, of all machines; none when there is no file.
Result<std::vector<CostEntry>> load_costs(const std::string& dir, std::uint64_t weights_id);

struct CostKeeping {
  std::string dir;      // of the packed model; empty: nothing is read or written
  std::string machine;  // CostEntry::machine
  std::uint64_t weights_id = 0;
};

class CostKeeper {
 public:
  // `measure` is called when the file has no costs of this machine, or is of no use; fails as that does. A folder that
  // cannot be written is said once, and the costs are kept in memory only.
  static Result<std::unique_ptr<CostKeeper>> open(const CostKeeping& keeping,
                                                  const std::function<Result<CostModel>()>& measure);
  ~CostKeeper();  // saves what was observed

  // What the transfer moved so far; `layers` with experts ran in each step. Once a step.
  void observe(const TransferStats& moved, std::uint64_t layers);
  const CostModel& costs() const { return costs_; }
  bool measured() const { return measured_; }  // at this start

 private:
  CostKeeper(const CostKeeping& keeping, CostModel costs, bool measured)
      : keeping_(keeping), costs_(std::move(costs)), measured_(measured) {}
  Status save() const;

  CostKeeping keeping_;
  CostModel costs_;
  bool measured_;
  bool writable_ = true;
  bool observed_ = false;
  TransferStats last_;
};

}  // namespace foregate
