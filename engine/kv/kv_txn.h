// Blocks change hands in one transaction per step: reserve takes blocks out of the pool for a
// table, commit gives them to it, and a transaction that ends without commit puts them back. Until
// commit no table has changed. Engine thread only; lives for one step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kv/block_pool.h"
#include "engine/kv/block_table.h"

namespace foregate {

class KvTxn {
 public:
  explicit KvTxn(BlockPool& pool) : pool_(pool) {}
  ~KvTxn() { drop(); }
  KvTxn(const KvTxn&) = delete;
  KvTxn& operator=(const KvTxn&) = delete;

  // `count` more blocks for `table`. False, with nothing taken, when the pool has fewer; a table
  // may be named once per transaction.
  bool reserve(BlockTable& table, std::int32_t count);
  // The table as it will be after commit: its blocks, then those reserved for it.
  void append_view(const BlockTable& table, std::vector<std::int32_t>& out) const;
  void commit();
  void drop();

  // Gives all blocks of a table back to the pool at once: the sequence ended or was preempted and
  // no step in flight refers to it (INV-4).
  static void release_all(BlockPool& pool, BlockTable& table);

 private:
  struct Grant {
    BlockTable* table = nullptr;
    std::vector<BlockId> blocks;
  };
  BlockPool& pool_;
  std::vector<Grant> grants_;
};

}  // namespace foregate
