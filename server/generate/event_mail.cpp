#include "server/generate/event_mail.h"

#include <algorithm>
#include <utility>

#include "server/generate/generation.h"

namespace foregate {
namespace {

constexpr std::size_t kTurn = 64;  // events in a row before others on the loop have their turn

}  // namespace

void EventMail::put(std::shared_ptr<Generation> to, std::size_t prompt, TokenEvent event) {
  add({std::move(to), prompt, std::move(event), true});
}

void EventMail::release(std::shared_ptr<Generation> held) {
  add({std::move(held), 0, {}, false});
}

void EventMail::add(Letter letter) {
  {
    std::lock_guard lock(mutex_);
    letters_.push_back(std::move(letter));
    if (std::exchange(due_, true)) return;
  }
  loop_.post([self = shared_from_this()] { self->deliver(); });
}

void EventMail::deliver() {
  if (next_ == taken_.size()) {
    taken_.clear();
    next_ = 0;
    std::lock_guard lock(mutex_);
    std::swap(taken_, letters_);
  }
  const std::size_t end = std::min(taken_.size(), next_ + kTurn);
  while (next_ < end) {
    const Letter letter = std::move(taken_[next_++]);
    if (letter.told) letter.to->on_event(letter.prompt, letter.event);
  }
  {
    std::lock_guard lock(mutex_);
    due_ = next_ < taken_.size() || !letters_.empty();
    if (!due_) return;
  }
  loop_.post([self = shared_from_this()] { self->deliver(); });
}

}  // namespace foregate
