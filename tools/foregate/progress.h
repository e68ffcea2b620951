// A progress bar on stderr for a person who waits; silent when stderr is not a terminal.
#pragma once

#include <string_view>

namespace foregate {

class ProgressBar {
 public:
  ProgressBar();
  ~ProgressBar();  // leaves the line clean
  // `fraction` of `stage` is done, 0..1. Redraws at most once per percent.
  void show(std::string_view stage, double fraction);
  void clear();

 private:
  bool terminal_;
  bool drawn_ = false;
  int percent_ = -1;
};

}  // namespace foregate
