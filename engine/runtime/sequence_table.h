// All live sequences in order of arrival, and the views the scheduler plans from. Engine thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/kv/block_pool.h"
#include "engine/kv/kv_window.h"
#include "engine/sched/scheduler.h"
#include "engine/sched/sequence.h"

namespace foregate {

struct SeqViews {
  std::vector<SeqView> running;
  std::vector<SeqView> waiting;
  std::int32_t block_size = 1;
};

// What others may know of it.
LiveSample live_sample(const Sequence& seq);

class SequenceTable {
 public:
  Sequence& add(std::unique_ptr<Sequence> sequence);  // gives it its id
  Sequence& at(SeqId id);
  std::vector<Sequence*> of_request(RequestId id);  // live ones by index; empty when unknown
  std::vector<Sequence*> all();                     // by arrival
  void remove(SeqId id);
  std::size_t size() const { return sequences_.size(); }

  // While a suspect can run, all others are shown as paused: it runs alone, so that a request that
  // breaks the model takes nobody with it the second time (INV-12). Who waits and is paused is left out.
  SeqViews views(std::int32_t block_size, std::int32_t max_logit_rows) const;
  bool runnable() const;  // something is neither finished nor paused
  // Every table of a group once, for BlockPool::audit.
  std::vector<const BlockTable*> block_tables(BlockTable Sequence::*member) const;
  // INV-24. kInternal says who breaks it.
  Status audit(std::int32_t block_size, const KvWindow& window) const;

 private:
  std::uint64_t next_ = 1;
  std::map<SeqId, std::unique_ptr<Sequence>> sequences_;
  std::unordered_map<RequestId, std::vector<SeqId>> by_request_;
};

}  // namespace foregate
