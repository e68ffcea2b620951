// Guard against stack overflow while evaluating; only the evaluator's own files include it.
#pragma once

#include "engine/text/jinja_error.h"
#include "engine/text/jinja_eval.h"

namespace foregate::jinja {

constexpr int kMaxEvalDepth = 1500;  // nested eval and exec frames, under 1 KB of stack each in release

class Evaluator::Depth {
 public:
  explicit Depth(Evaluator& ev) : ev_(ev) {
    if (ev.depth_ >= kMaxEvalDepth) exhausted("evaluation nested too deeply");
    ++ev.depth_;
  }
  ~Depth() { --ev_.depth_; }
  Depth(const Depth&) = delete;
  Depth& operator=(const Depth&) = delete;

 private:
  Evaluator& ev_;
};

}  // namespace foregate::jinja
