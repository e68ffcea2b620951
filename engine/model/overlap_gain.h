// What an overlap of exchanges can gain at most, from steps that ran without one: a message costs alpha + bytes / beta
// (Hockney 1994), rank 0's own work a part for the step and a part for each row. Pure.
#pragma once

#include <optional>
#include <span>

#include "engine/model/exchange_parts.h"

namespace foregate {

// Of one step, or of several of about as many rows: nanoseconds and bytes.
struct StepSpent {
  double rows = 0;
  double total = 0;
  double waited = 0;     // of it, to send to other ranks and for their answers
  double exchanges = 0;  // layers that sent rows
  double bytes = 0;      // of all their messages, both ways
};

// fixed + each * x
struct StraightLine {
  double fixed = 0;
  double each = 0;
  double at(double x) const { return fixed + each * x; }
};
struct XY {
  double x = 0;
  double y = 0;
};
// Least squares of relative errors, neither part below 0; through 0 where all points have the same x. Points have x and
// y above 0; those that have not are left out.
StraightLine fit_line(std::span<const XY> points);

// What steps without overlap cost on this machine and these lines.
class OverlapModel {
 public:
  explicit OverlapModel(std::span<const StepSpent> known);  // not empty, each of another number of rows
  // Nothing for a number of rows that is far from all that are known, or when only one is.
  std::optional<StepSpent> predict(double rows) const;
  const StraightLine& work() const { return work_; }  // of rank 0, by rows
  const StraightLine& wait() const { return wait_; }  // of an exchange, by bytes: alpha and 1 / beta
  // A step without overlap over the same with it, if all that it waited were hidden. Halves do what a step costs
  // besides its rows twice.
  double most_gain(OverlapMode way, const StepSpent& step) const;

 private:
  std::size_t known_;
  double least_rows_, most_rows_;
  double exchanges_ = 0;
  double bytes_of_row_ = 0;
  StraightLine work_, wait_;
};

}  // namespace foregate
