#include "server/app/load_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace foregate {

std::string load_bar_text(std::string_view stage, double fraction) {
  constexpr std::size_t kWidth = 32;
  const double part = std::clamp(fraction, 0.0, 1.0);
  const auto full = static_cast<std::size_t>(part * kWidth);
  std::string text(stage);
  text.resize(std::max<std::size_t>(text.size(), 10), ' ');
  text += " [" + std::string(full, '#') + std::string(kWidth - full, '.') + "] ";
  const std::string percent = std::to_string(static_cast<int>(part * 100));
  return text + std::string(3 - std::min<std::size_t>(percent.size(), 3), ' ') + percent + "%";
}

LoadBar::LoadBar() : terminal_(isatty(STDERR_FILENO) == 1) {}

void LoadBar::show(std::string_view stage, double fraction) {
  if (!terminal_) return;
  std::string text = load_bar_text(stage, fraction);
  if (text == shown_) return;
  shown_ = std::move(text);
  std::fprintf(stderr, "\r\033[K%s", shown_.c_str());
  std::fflush(stderr);
}

void LoadBar::clear() {
  if (!terminal_ || shown_.empty()) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  shown_.clear();
}

}  // namespace foregate
