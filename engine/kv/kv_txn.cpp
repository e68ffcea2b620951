#include "engine/kv/kv_txn.h"

namespace foregate {

bool KvTxn::reserve(BlockTable& table, std::int32_t count) {
  if (count == 0) return true;
  if (count < 0 || count > pool_.free_blocks()) return false;
  for (const Grant& grant : grants_) {
    if (BUG_IF(grant.table == &table)) return false;
  }
  Grant grant;
  grant.table = &table;
  grant.blocks.reserve(static_cast<std::size_t>(count));
  for (std::int32_t i = 0; i < count; ++i) grant.blocks.push_back(*pool_.acquire());
  grants_.push_back(std::move(grant));
  return true;
}

void KvTxn::append_view(const BlockTable& table, std::vector<std::int32_t>& out) const {
  for (BlockId block : table.blocks()) out.push_back(block.value);
  for (const Grant& grant : grants_) {
    if (grant.table != &table) continue;
    for (BlockId block : grant.blocks) out.push_back(block.value);
  }
}

void KvTxn::commit() {
  for (Grant& grant : grants_) {
    grant.table->blocks_.insert(grant.table->blocks_.end(), grant.blocks.begin(), grant.blocks.end());
  }
  grants_.clear();
}

void KvTxn::drop() {
  // In reverse, so that the pool hands out the same blocks next time.
  for (auto grant = grants_.rbegin(); grant != grants_.rend(); ++grant) {
    for (auto block = grant->blocks.rbegin(); block != grant->blocks.rend(); ++block) pool_.release(*block);
  }
  grants_.clear();
}

void KvTxn::release_all(BlockPool& pool, BlockTable& table) {
  for (auto block = table.blocks_.rbegin(); block != table.blocks_.rend(); ++block) pool.release(*block);
  table.blocks_.clear();
}

}  // namespace foregate
