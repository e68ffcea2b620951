#include "tools/foregate/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace foregate {

ProgressBar::ProgressBar() : terminal_(isatty(STDERR_FILENO) != 0) {}

ProgressBar::~ProgressBar() {
  clear();
}

void ProgressBar::show(std::string_view stage, double fraction) {
  constexpr int kWidth = 40;
  const int percent = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * 100.0);
  if (!terminal_ || percent == percent_) return;
  percent_ = percent;
  drawn_ = true;
  const int full = percent * kWidth / 100;
  const std::string bar =
      std::string(static_cast<std::size_t>(full), '#') + std::string(static_cast<std::size_t>(kWidth - full), '.');
  std::fprintf(stderr, "\r\033[K%.*s [%s] %3d %%", static_cast<int>(stage.size()), stage.data(), bar.c_str(), percent);
  std::fflush(stderr);
}

void ProgressBar::clear() {
  if (!drawn_) return;
  std::fprintf(stderr, "\r\033[K");
  std::fflush(stderr);
  drawn_ = false;
  percent_ = -1;
}

}  // namespace foregate
