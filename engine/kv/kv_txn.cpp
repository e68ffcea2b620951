#include "engine/kv/kv_txn.h"

#include <algorithm>

namespace foregate {

const KvTxn::Grant* KvTxn::grant_of(const BlockTable& table) const {
  for (const Grant& grant : grants_) {
    if (grant.table == &table) return &grant;
  }
  return nullptr;
}

KvTxn::Grant* KvTxn::grant_of(const BlockTable& table) {
  return const_cast<Grant*>(static_cast<const KvTxn*>(this)->grant_of(table));
}

void KvTxn::share(BlockTable& table, std::span<const BlockId> blocks, std::optional<BlockId> tail, ClientId owner,
                  std::int32_t given_up) {
  if (blocks.empty() && !tail && given_up == 0) return;
  if (BUG_IF(!table.empty() || grant_of(table) != nullptr)) return;
  Grant grant;
  grant.table = &table;
  grant.given_up = static_cast<std::size_t>(given_up);
  grant.blocks.assign(grant.given_up, kGivenUp);
  grant.blocks.insert(grant.blocks.end(), blocks.begin(), blocks.end());
  grant.shared = grant.blocks.size();
  grant.tail = tail;
  grant.owner = owner;
  for (BlockId block : blocks) pool_.retain(block);
  if (tail) pool_.retain(*tail);
  grants_.push_back(std::move(grant));
}

bool KvTxn::reserve(BlockTable& table, std::int32_t count) {
  Grant* grant = grant_of(table);
  const bool copies = grant != nullptr && grant->tail;
  if (count == 0) return !copies;
  if (count < 0 || count > pool_.free_blocks() || BUG_IF(grant != nullptr && grant->reserved)) return false;
  if (grant == nullptr) {
    grants_.emplace_back();
    grant = &grants_.back();
    grant->table = &table;
  }
  grant->reserved = true;
  for (std::int32_t i = 0; i < count; ++i) grant->blocks.push_back(*pool_.acquire());
  return true;
}

std::vector<BlockCopy> KvTxn::copies() const {
  std::vector<BlockCopy> copies;
  for (const Grant& grant : grants_) {
    if (grant.tail && grant.blocks.size() > grant.shared) copies.push_back({*grant.tail, grant.blocks[grant.shared]});
  }
  return copies;
}

void KvTxn::copied() {
  for (Grant& grant : grants_) {
    if (grant.tail) pool_.release(*grant.tail, grant.owner);
    grant.tail.reset();
  }
}

void KvTxn::append_view(const BlockTable& table, std::vector<std::int32_t>& out) const {
  for (BlockId block : table.blocks()) out.push_back(block.value);
  const Grant* grant = grant_of(table);
  if (grant == nullptr) return;
  for (BlockId block : grant->blocks) out.push_back(block.value);
}

bool KvTxn::writable(const BlockTable& table, std::int32_t index) const {
  const Grant* grant = grant_of(table);
  const auto granted = grant == nullptr ? 0 : static_cast<std::int32_t>(grant->blocks.size());
  if (index < 0 || index >= table.size() + granted) return false;
  const auto at = static_cast<std::size_t>(index);
  const auto held = static_cast<std::size_t>(table.size());
  const BlockId block = at < held ? table.blocks()[at] : grant->blocks[at - held];
  if (block == kGivenUp) return false;
  return pool_.refs(block) == 1 && !pool_.published(block);
}

void KvTxn::commit() {
  copied();
  for (Grant& grant : grants_) {
    grant.table->blocks_.insert(grant.table->blocks_.end(), grant.blocks.begin(), grant.blocks.end());
    grant.table->given_up_ += static_cast<std::int32_t>(grant.given_up);
  }
  grants_.clear();
}

void KvTxn::drop() {
  copied();
  // In reverse, so that the pool hands out the same blocks next time.
  for (auto grant = grants_.rbegin(); grant != grants_.rend(); ++grant) {
    for (auto block = grant->blocks.rbegin(); block != grant->blocks.rend(); ++block) {
      if (*block != kGivenUp) pool_.release(*block, grant->owner);
    }
  }
  grants_.clear();
}

void KvTxn::release_all(BlockPool& pool, BlockTable& table, ClientId owner) {
  const auto held = table.held();
  for (auto block = held.rbegin(); block != held.rend(); ++block) pool.release(*block, owner);
  table.blocks_.clear();
  table.given_up_ = 0;
}

std::int32_t KvTxn::give_up_before(BlockPool& pool, BlockTable& table, std::int32_t count, ClientId owner) {
  const std::int32_t before = table.given_up_;
  if (count <= before || BUG_IF(count > table.size())) return 0;
  for (std::int32_t i = count; i-- > before;) {
    BlockId& place = table.blocks_[static_cast<std::size_t>(i)];
    pool.release(place, owner);
    place = kGivenUp;
  }
  table.given_up_ = count;
  return count - before;
}

void KvTxn::truncate(BlockPool& pool, BlockTable& table, std::int32_t count) {
  while (table.size() > std::max(count, table.given_up_)) {
    pool.release(table.blocks_.back());
    table.blocks_.pop_back();
  }
}

void KvTxn::replace(BlockPool& pool, BlockTable& table, std::int32_t index, BlockId block) {
  BlockId& place = table.blocks_[static_cast<std::size_t>(index)];
  if (place == block || BUG_IF(place == kGivenUp)) return;
  pool.retain(block);
  pool.release(place);
  place = block;
}

}  // namespace foregate
