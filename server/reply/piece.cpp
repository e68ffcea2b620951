#include "server/reply/piece.h"

namespace foregate {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

void ContentOut::put(std::string_view text, PieceSink& out) {
  for (const char c : text) {
    if (is_space(c)) {
      if (skipping_) continue;
      held_ += c;
      if (held_.size() < kMostHeldBytes) continue;
    } else {
      held_ += c;
    }
    skipping_ = false;
    out.put(ReplyPiece::Kind::kContent, std::exchange(held_, {}));
  }
}

void ContentOut::end(PieceSink& out) {
  out.put(ReplyPiece::Kind::kContent, std::exchange(held_, {}));
}

std::size_t MarkScan::push(char c, std::string& text) {
  held_ += c;
  while (!held_.empty()) {
    bool begins = false;
    for (std::size_t i = 0; i < marks_.size(); ++i) {
      if (marks_[i].compare(0, held_.size(), held_) != 0) continue;
      if (marks_[i].size() == held_.size()) return held_.clear(), i;
      begins = true;
    }
    if (begins) return kNone;
    text += held_.front();
    held_.erase(0, 1);
  }
  return kNone;
}

}  // namespace foregate
