// The ledger of accepted requests: how many samples are live, which ids exist, and what front ends
// asked of them since the engine last looked. Thread-safe. Controls of one request merge, so the
// ledger is bounded by the live requests however often a client cancels or pauses.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/status.h"

namespace foregate {

struct Control {
  RequestId request;
  bool cancel_all = false;
  std::vector<std::int32_t> cancelled;  // indices
  std::optional<bool> paused;
};

class LiveRequests {
 public:
  explicit LiveRequests(std::int64_t max_samples) : max_samples_(max_samples) {}
  // Counts `n` samples in (INV-10). kResourceExhausted when that passes the bound, kInvalidArgument
  // when the id is live already.
  Status open(RequestId id, std::int32_t n);
  void close_sample(RequestId id);  // one sample has had its finish
  void abandon(RequestId id);       // opened but never handed to the engine
  bool cancel(RequestId id);        // false when the id is not live
  bool cancel(RequestId id, std::int32_t index);
  bool set_paused(RequestId id, bool paused);
  std::vector<Control> take_controls();  // in the order in which the requests were first touched
  void put_back(Control control);        // the engine does not have the request yet
  std::int64_t samples() const;

 private:
  struct Entry {
    std::int32_t n = 0;
    std::int32_t left = 0;
    bool touched = false;
    Control control;
  };
  Entry* touch(RequestId id);
  mutable std::mutex mutex_;
  const std::int64_t max_samples_;
  std::int64_t samples_ = 0;
  std::unordered_map<RequestId, Entry> entries_;
  std::vector<RequestId> touched_;
};

}  // namespace foregate
