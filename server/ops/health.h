// What /health says, as a small state machine: loading -> ready -> draining, or failed from any.
// Loop thread only.
#pragma once

#include <string>

namespace foregate {

class Health {
 public:
  enum class State { kLoading, kReady, kLeaving, kDraining, kFailed };

  void set_ready();     // from loading only: a drain that began while loading stays
  void set_leaving();   // from ready only: not ready to be asked, but who still asks is served
  void set_draining();  // final, unless failed
  void set_failed(std::string reason);
  State state() const { return state_; }
  // May new work be taken? `engine_healthy` is Engine::healthy() at this moment.
  bool accepts(bool engine_healthy) const {
    return (state_ == State::kReady || state_ == State::kLeaving) && engine_healthy;
  }
  // "ok", "loading", "draining", "stalled" or "failed".
  const char* word(bool engine_healthy) const;
  const std::string& reason() const { return reason_; }

 private:
  State state_ = State::kLoading;
  std::string reason_;
};

}  // namespace foregate
