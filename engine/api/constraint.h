// What a request demands of the form of its output, as sampling sees it: which tokens may come next. A TokenConstraint
// is immutable to its users and shared; a ConstraintState belongs to one sample, on the engine thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "engine/base/status.h"

namespace foregate {

class ConstraintState {
 public:
  virtual ~ConstraintState() = default;
  // One bit per token id, in words of 64; ids beyond the span may not come. Good until the next call on this object.
  // An end-of-sequence id may come only where the output may end. kInvalidArgument when working it out takes more
  // than its bounds.
  virtual Result<std::span<const std::uint64_t>> allowed() = 0;
  // `token` was chosen; it must have been allowed. End-of-sequence ids are not told.
  virtual Status accept(std::int32_t token) = 0;
  virtual bool complete() const = 0;  // nothing but the end may follow
  virtual std::unique_ptr<ConstraintState> clone() const = 0;
};

class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;
  virtual std::unique_ptr<ConstraintState> start() const = 0;
};

}  // namespace foregate
