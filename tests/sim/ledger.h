// What the clients of a simulation know: what each sent, what it must be answered, what it was told so far, and what it
// did meanwhile. Every event is judged when it comes. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/api/engine.h"
#include "tests/sim/oracle.h"
#include "tests/sim/plant.h"

namespace foregate::sim {

inline constexpr std::int64_t kNever = -1;

struct Sample {
  Answer want;
  std::vector<Token> got;
  bool finished = false;
  bool begun = false;               // was in a step
  bool suspect = false;             // was in a failed step, and in none that was good since
  bool may_lose_row = false;        // this turn's step gave it a row that is not finite
  int failed_steps = 0;             // that count against it
  std::int64_t cancelled = kNever;  // turn before which its client asked for that
  std::int32_t skipped = 0;         // steps since it last ran, while it could
  std::int32_t held_back = 0;       // steps in a row
};

class Ledger;

class Client final : public EventSink {
 public:
  Client(Ledger& ledger, Request request);
  void on_event(TokenEvent event) override;
  bool live() const;

  Ledger& ledger;
  Request request;
  std::vector<Sample> samples;
  std::int64_t sent = 0;            // turn before which
  bool paused = false;              // by this client
  std::int64_t paused_at = kNever;  // turn
  // A slow reader: what it was told and has not read, and what it reads in a turn.
  std::int32_t buffered = 0;
  std::int32_t reads = 1000;

 private:
  void take(const TokenEvent& event, Sample& sample);
  void judge_finish(const TokenEvent& event, Sample& sample);
};

class Ledger {
 public:
  Ledger(Plant plant, const Clock& clock) : plant_(plant), clock_(clock) {}
  const Clock& clock() const { return clock_; }
  // The first thing that was not as it must be; nothing is judged after it.
  void broke(std::string what);
  bool broken() const { return !first_break_.empty(); }
  const std::string& first_break() const { return first_break_; }
  void note(std::uint64_t value) { trace_ = mix(trace_, value); }
  std::uint64_t trace() const { return trace_; }
  Plant plant() const { return plant_; }

  std::shared_ptr<Client> add(Request request);
  void accept(const std::shared_ptr<Client>& client);  // the engine took it
  struct Who {
    Client* client = nullptr;
    Sample* sample = nullptr;
  };
  Who of(SeqId id) const;
  Client* of_request(std::uint64_t id) const;
  const std::vector<std::shared_ptr<Client>>& clients() const { return clients_; }
  std::int64_t live() const { return accepted_ - ended_; }
  std::int64_t accepted() const { return accepted_; }
  void ended() { ++ended_; }
  // Tokens that the sample may be given from blocks of other samples of its tenant.
  std::int32_t most_cached(const Client& client, const Sample& its) const;

  // A step, from its plan to how it ended; INV-12 as the clients are promised it.
  void step_begins(const BatchPlan& plan);
  void step_ends(const Status& how);
  bool in_step() const { return in_step_; }
  const BatchPlan& plan() const { return plan_; }

  std::int64_t turn = 0;
  TimeNs turn_began = 0;
  std::int32_t max_fatal_steps = 0;
  std::int64_t failed_steps = 0;
  bool engine_failed = false;
  bool engine_ends = false;  // it is being destroyed

 private:
  Plant plant_;
  const Clock& clock_;
  std::string first_break_;
  std::uint64_t trace_ = kNoHistory;
  std::vector<std::shared_ptr<Client>> clients_;
  std::map<std::uint64_t, Client*> by_request_;
  std::vector<Who> by_seq_;  // ids are given out in the order in which requests were taken
  std::int64_t accepted_ = 0;
  std::int64_t ended_ = 0;
  BatchPlan plan_;
  bool in_step_ = false;
  std::int32_t fatal_in_a_row_ = 0;
};

}  // namespace foregate::sim
