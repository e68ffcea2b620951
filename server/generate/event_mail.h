// Hands what the engine decides over to the loop: the events of a step become one task there, not one each. Any thread
// puts in; they come out on the loop, in order.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/api/types.h"
#include "server/net/io.h"

namespace foregate {

class Generation;

class EventMail : public std::enable_shared_from_this<EventMail> {
 public:
  explicit EventMail(IoLoop& loop) : loop_(loop) {}  // `loop` outlives what is put in
  void put(std::shared_ptr<Generation> to, std::size_t prompt, TokenEvent event);
  void release(std::shared_ptr<Generation> held);  // lets go of it on the loop, after what was put in before

 private:
  struct Letter {
    std::shared_ptr<Generation> to;
    std::size_t prompt = 0;
    TokenEvent event;
    bool told = false;  // there is an event
  };
  void add(Letter letter);
  void deliver();

  IoLoop& loop_;
  std::mutex mutex_;  // of these two
  std::vector<Letter> letters_;
  bool due_ = false;           // deliver() is posted
  std::vector<Letter> taken_;  // loop thread, as what follows
  std::size_t next_ = 0;       // of taken_
};

}  // namespace foregate
