#include "server/ops/health.h"

#include <utility>

namespace foregate {

void Health::set_ready() {
  if (state_ == State::kLoading) state_ = State::kReady;
}

void Health::set_leaving() {
  if (state_ == State::kReady) state_ = State::kLeaving;
}

void Health::set_draining() {
  if (state_ != State::kFailed) state_ = State::kDraining;
}

void Health::set_failed(std::string reason) {
  state_ = State::kFailed;
  reason_ = std::move(reason);
}

const char* Health::word(bool engine_healthy) const {
  switch (state_) {
    case State::kLoading: return "loading";
    case State::kReady: return engine_healthy ? "ok" : "stalled";
    case State::kLeaving:
    case State::kDraining: return "draining";
    case State::kFailed: return "failed";
  }
  return "failed";
}

}  // namespace foregate
