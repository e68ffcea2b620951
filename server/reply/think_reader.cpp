#include <utility>

#include "server/reply/readers.h"

namespace foregate {
namespace {

class ThinkReader final : public ByteReader {
 public:
  ThinkReader(const ReplyForm& form, std::unique_ptr<ByteReader> rest)
      : open_(think_marks(form.reasoning).open),
        close_({std::string(think_marks(form.reasoning).close)}),
        rest_(std::move(rest)),
        at_(form.start == ReplyForm::Start::kOpen     ? At::kWithin
            : form.start == ReplyForm::Start::kClosed ? At::kBehind
                                                      : At::kStart) {}

  void byte(char c, PieceSink& out) override {
    switch (at_) {
      case At::kStart: return start(c, out);
      case At::kWithin: return within(c, out);
      case At::kSpace:
        if (is_space(c)) return;
        at_ = At::kBehind;
        [[fallthrough]];
      case At::kBehind: return rest_->byte(c, out);
    }
  }

  void end(PieceSink& out) override {
    if (at_ == At::kStart) give_up(out);
    if (at_ == At::kWithin) {
      put_reasoning(close_.rest(), out);
      end_reasoning(out);
    }
    rest_->end(out);
  }

 private:
  enum class At { kStart, kWithin, kSpace, kBehind };

  // The reply opens reasoning only as the first thing it says. If the prompt did, some models do so again.
  void start(char c, PieceSink& out) {
    first_ += c;
    const std::string_view text = trimmed(first_);
    if (text == open_) {
      at_ = At::kWithin;
      opened_ = true;
      first_.clear();
    } else if (!text.empty() && (open_.compare(0, text.size(), text) != 0 || is_space(c))) {
      give_up(out);
    } else if (first_.size() > kMostHeldBytes) {
      give_up(out);
    }
  }

  void give_up(PieceSink& out) {
    at_ = At::kBehind;
    for (const char c : std::exchange(first_, {})) rest_->byte(c, out);
  }

  void within(char c, PieceSink& out) {
    std::string text;
    const bool closed = close_.push(c, text) == 0;
    put_reasoning(text, out);
    if (!closed) return;
    at_ = At::kSpace;
    end_reasoning(out);
  }

  void end_reasoning(PieceSink& out) {
    out.put(ReplyPiece::Kind::kReasoning, trimmed(held_));
    held_.clear();
  }

  // Without the space around it, and without a second opening mark.
  void put_reasoning(std::string_view text, PieceSink& out) {
    for (const char c : text) {
      if (is_space(c) && !said_ && held_.empty()) continue;
      held_ += c;
      if (!said_ && !opened_ && held_.size() <= open_.size() && open_.compare(0, held_.size(), held_) == 0) {
        if (held_ == open_) held_.clear(), opened_ = true;
        continue;
      }
      if (is_space(c) && held_.size() < kMostHeldBytes) continue;
      said_ = true;
      out.put(ReplyPiece::Kind::kReasoning, std::exchange(held_, {}));
    }
  }

  const std::string open_;
  MarkScan close_;
  std::unique_ptr<ByteReader> rest_;
  At at_;
  std::string first_;    // of a reply that has not said what it is
  std::string held_;     // of reasoning: space that may be its last
  bool said_ = false;    // something of the reasoning went out
  bool opened_ = false;  // by the reply
};

class PlainReply final : public ByteReader {
 public:
  void byte(char c, PieceSink& out) override { out.put(ReplyPiece::Kind::kContent, {&c, 1}); }
  void end(PieceSink&) override {}
};

}  // namespace

std::unique_ptr<ByteReader> think_reader(const ReplyForm& form, std::unique_ptr<ByteReader> rest) {
  return std::make_unique<ThinkReader>(form, std::move(rest));
}

std::unique_ptr<ByteReader> plain_reply() {
  return std::make_unique<PlainReply>();
}

}  // namespace foregate
