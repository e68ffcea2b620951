// Blocks change hands in one transaction per step: share lets a table start with blocks that others published,
// reserve takes blocks out of the pool for it, commit gives them to it, and a transaction that ends without commit puts
// them back. Until commit no table has changed. Engine thread only; lives for one step.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/kv/block_pool.h"
#include "engine/kv/block_table.h"
#include "engine/kv/prefix_cache.h"

namespace foregate {

// A block whose contents another one gets before the step.
struct BlockCopy {
  BlockId from;
  BlockId to;
};

class KvTxn {
 public:
  explicit KvTxn(BlockPool& pool) : pool_(pool) {}
  ~KvTxn() { drop(); }
  KvTxn(const KvTxn&) = delete;
  KvTxn& operator=(const KvTxn&) = delete;

  // `table`, which is empty, starts with these blocks, held or published, behind `given_up` places without a block.
  // `tail` is one more whose first positions it
  // takes over and that it goes on writing in: it gets a copy, the first of the blocks reserved for it. All shares of
  // a step come before its first reserve, which may give up the contents of blocks that nobody holds. `owner`: in
  // whose name the tail is kept afterwards.
  void share(BlockTable& table, std::span<const BlockId> blocks, std::optional<BlockId> tail, ClientId owner = 0,
             std::int32_t given_up = 0);
  // `count` more blocks for `table`. False, with nothing taken, when the pool has fewer; a table
  // may be named once per transaction.
  bool reserve(BlockTable& table, std::int32_t count);
  std::vector<BlockCopy> copies() const;  // to be made before the step
  void copied();                          // they are made: nothing more is wanted of their sources
  // The table as it will be after commit: its blocks, then those reserved for it.
  void append_view(const BlockTable& table, std::vector<std::int32_t>& out) const;
  // Whether a step may write to block number `index` of that view: held by this table alone, and not published.
  bool writable(const BlockTable& table, std::int32_t index) const;
  void commit();
  void drop();

  // Gives all blocks of a table back to the pool at once: the sequence ended or was preempted and
  // no step in flight refers to it (INV-4). Published ones are kept in the name of `owner`.
  static void release_all(BlockPool& pool, BlockTable& table, ClientId owner = 0);
  // The same of all blocks but the first `count`: what was in them was rejected.
  static void truncate(BlockPool& pool, BlockTable& table, std::int32_t count);
  // Gives up the blocks before number `count`, which no row reads any more. How many those were.
  static std::int32_t give_up_before(BlockPool& pool, BlockTable& table, std::int32_t count, ClientId owner);
  // Block number `index` of the table becomes `block`, which holds the same and is held or published.
  static void replace(BlockPool& pool, BlockTable& table, std::int32_t index, BlockId block);

 private:
  struct Grant {
    BlockTable* table = nullptr;
    std::vector<BlockId> blocks;  // places without one, shared ones, reserved ones
    std::size_t given_up = 0;     // of the first places
    std::size_t shared = 0;       // places before the reserved ones
    std::optional<BlockId> tail;
    ClientId owner = 0;
    bool reserved = false;
  };
  Grant* grant_of(const BlockTable& table);
  const Grant* grant_of(const BlockTable& table) const;
  BlockPool& pool_;
  std::vector<Grant> grants_;
};

}  // namespace foregate
