// One line on stderr that fills while something loads; nothing when stderr is not a terminal.
// Any one thread at a time.
#pragma once

#include <string>
#include <string_view>

namespace foregate {

class LoadBar {
 public:
  LoadBar();
  void show(std::string_view stage, double fraction);
  void clear();

 private:
  bool terminal_;
  std::string shown_;
};

// The bar as text, e.g. "weights   [#####.....]  50%".
std::string load_bar_text(std::string_view stage, double fraction);

}  // namespace foregate
