// Runs the lines of a batch through the server's own handlers, as many at once as the engine takes, and writes the
// answers in the order of the input. A line gives an answer whatever happens to others. Loop thread only.
//
// Lines are asked in their order, or by what their prompts begin with: round and round through those that were read
// ahead, so that lines with a shared prefix come one after another. Answers that wait for an earlier line are kept, so
// when they fill half of the window the earliest line is asked first.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>

#include "server/batch/batch_line.h"
#include "server/batch/batch_output.h"
#include "server/batch/line_source.h"
#include "server/http/http_server.h"
#include "server/net/io.h"

namespace foregate {

struct BatchOptions {
  std::size_t in_flight = 64;                        // requests under way
  std::size_t window = 1024;                         // lines read ahead of the first one that has no answer yet
  std::size_t window_bytes = std::size_t{64} << 20;  // of these lines
  bool by_beginning = false;                         // asked by what they begin with; false: in their order
  std::uint64_t seed = 0;                            // of requests without one, with their custom_id
  std::int64_t created = 0;                          // what answers say of their time
  double sync_seconds = 1.0;
  double retry_seconds = 0.2;  // before a line that was refused for want of room is asked again
};

struct BatchCounts {
  std::uint64_t lines = 0;       // read, empty ones apart
  std::uint64_t resumed = 0;     // had an answer from an earlier run
  std::uint64_t duplicates = 0;  // of a custom_id that came before: left out
  std::uint64_t answered = 0;    // written, faults included
  std::uint64_t faults = 0;      // of those: no answer with status 200
  std::uint64_t retries = 0;
  std::uint64_t prompt_tokens = 0;
  std::uint64_t completion_tokens = 0;
};

class BatchRunner {
 public:
  // `done` hears once: ok when every line has its answer, or what stopped the run (input or output cannot be used).
  BatchRunner(IoLoop& loop, HttpCallbacks callbacks, LineSource& source, BatchOutput& output, BatchOptions options,
              std::function<void(const Status&)> done);
  ~BatchRunner();
  void start();
  void stop();  // asks no more; `done` hears when what is under way has ended
  const BatchCounts& counts() const { return counts_; }
  std::size_t in_flight() const { return in_flight_; }
  bool stopped() const { return stopping_; }

 private:
  struct Slot {
    std::uint64_t position = 0;
    BatchLine line;
    std::string key;
    std::string answer;  // empty: not yet
    bool asked = false;
    std::size_t bytes() const { return line.body.size() + line.beginning.size() + answer.size(); }
  };
  using Place = std::pair<std::string, std::uint64_t>;  // what it begins with, its position

  void fill();
  Status read_lines();
  bool wants_line() const;
  Place place_of(const Slot& slot) const;
  std::shared_ptr<Slot> next_to_ask();
  void keep_answer(Slot& slot, std::string answer);
  void take(const std::string& text);  // a line of the input
  void take_fault(const std::string& custom_id, const Status& status);
  std::shared_ptr<Slot> new_slot(const std::string& custom_id);
  void ask(const std::shared_ptr<Slot>& slot);
  void answered(const std::shared_ptr<Slot>& slot, const HttpResponse& response);
  void count_usage(std::string_view body);
  Status flush();
  void sync_later();
  void end(Status status);

  IoLoop& loop_;
  HttpCallbacks callbacks_;
  LineSource& source_;
  BatchOutput& output_;
  BatchOptions options_;
  std::function<void(const Status&)> done_;
  std::deque<std::shared_ptr<Slot>> slots_;  // in the order of the input
  std::unordered_set<std::string> open_;     // keys of slots
  std::map<Place, std::shared_ptr<Slot>> unasked_;
  Place last_asked_;
  std::size_t held_bytes_ = 0;  // of slots
  std::size_t held_back_ = 0;   // answers in slots
  std::uint64_t position_ = 0;
  std::size_t in_flight_ = 0;
  BatchCounts counts_;
  bool ended_input_ = false;
  bool stopping_ = false;
  bool unsynced_ = false;
  std::unique_ptr<Timer> sync_timer_;
  std::unique_ptr<Timer> retry_timer_;
  std::deque<std::shared_ptr<Slot>> again_;  // refused for want of room
  std::shared_ptr<bool> alive_;
};

}  // namespace foregate
