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

// What the ledger lets in.
struct LedgerLimits {
  std::int64_t max_samples = 1;
  std::int64_t max_queued_tokens = 0;   // prompt tokens of samples that have not run yet; 0 = no bound
  std::int32_t max_client_share = 100;  // percent of max_samples for one client; one sample is always let in
};

// Counters never fall.
struct LedgerFigures {
  std::int64_t queued_tokens = 0;
  std::uint64_t refused_full = 0;
  std::uint64_t refused_tokens = 0;
  std::uint64_t refused_share = 0;
};

class LiveRequests {
 public:
  explicit LiveRequests(const LedgerLimits& limits) : limits_(limits) {}
  // Counts `n` samples of `prompt_tokens` each in (INV-10), in constant time. kResourceExhausted when that passes a
  // bound of all (a prompt that alone passes the one of tokens is let in when nothing else is queued), with the field
  // kClientShareField when it passes the client's share (0: no client is known, and it has none), kInvalidArgument when
  // the id is live already.
  Status open(RequestId id, std::int32_t n, std::int64_t prompt_tokens = 0, std::uint64_t client = 0);
  // What open() would say to one sample of one token, counted as it would count it.
  Status check_room(std::uint64_t client);
  void begin_sample(RequestId id);  // one sample has run for the first time: it is not queued any more
  // One sample has had its finish; `began`: begin_sample was called for it.
  void close_sample(RequestId id, bool began);
  void abandon(RequestId id);  // opened but never handed to the engine
  bool cancel(RequestId id);   // false when the id is not live
  bool cancel(RequestId id, std::int32_t index);
  bool set_paused(RequestId id, bool paused);
  std::vector<Control> take_controls();  // in the order in which the requests were first touched
  void put_back(Control control);        // the engine does not have the request yet
  std::int64_t samples() const;
  LedgerFigures figures() const;

 private:
  struct Entry {
    std::int32_t n = 0;
    std::int32_t left = 0;
    std::int32_t queued = 0;  // of them, not begun
    std::int64_t prompt_tokens = 0;
    std::uint64_t client = 0;
    bool touched = false;
    Control control;
  };
  Entry* touch(RequestId id);
  Status admit(std::int32_t n, std::int64_t tokens, std::uint64_t client);
  void unqueue(Entry& entry, std::int32_t samples);
  void leave(const Entry& entry, std::int32_t samples);
  mutable std::mutex mutex_;
  const LedgerLimits limits_;
  std::int64_t samples_ = 0;
  LedgerFigures figures_;
  std::unordered_map<std::uint64_t, std::int64_t> by_client_;  // live samples of each known one
  std::unordered_map<RequestId, Entry> entries_;
  std::vector<RequestId> touched_;
};

}  // namespace foregate
