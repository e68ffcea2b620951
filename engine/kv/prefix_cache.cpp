#include "engine/kv/prefix_cache.h"

#include <algorithm>
#include <utility>

namespace foregate {
namespace {

std::span<const Token> block_tokens(std::span<const Token> tokens, std::int32_t index, std::int32_t block_size) {
  return tokens.subspan(static_cast<std::size_t>(index) * static_cast<std::size_t>(block_size),
                        static_cast<std::size_t>(block_size));
}

}  // namespace

PrefixCache::PrefixCache(BlockPool& pool, BlockNamer namer, bool windowed, BlockPool* beside)
    : pool_(pool),
      namer_(std::move(namer)),
      windowed_(windowed),
      beside_(beside),
      nodes_(static_cast<std::size_t>(pool.total_blocks())) {
  pool_.on_evict([this](BlockId block) { forget(block); });
  if (beside_ == nullptr) return;
  beside_whom_.assign(static_cast<std::size_t>(beside_->total_blocks()), kGivenUp);
  beside_->on_evict([this](BlockId block) {
    BlockId& whom = beside_whom_[static_cast<std::size_t>(block.value)];
    if (BUG_IF(whom == kGivenUp)) return;
    node(whom).beside = kGivenUp;
    whom = kGivenUp;
    ++evicted_;
  });
}

void PrefixCache::put_beside(BlockId block, BlockId window_block) {
  BlockId& whom = beside_whom_[static_cast<std::size_t>(window_block.value)];
  if (node(block).beside != kGivenUp || BUG_IF(!node(block).known || whom != kGivenUp)) return;
  node(block).beside = window_block;
  whom = block;
  beside_->publish(window_block);
}

void PrefixCache::extend_keys(std::string_view salt, std::span<const Token> tokens, std::vector<BlockKey>& keys) const {
  const std::size_t full = tokens.size() / static_cast<std::size_t>(pool_.block_size());
  if (keys.size() >= full) return;
  BlockKey last = keys.empty() ? namer_.root(salt) : keys.back();
  while (keys.size() < full) {
    last = namer_.next(last, block_tokens(tokens, static_cast<std::int32_t>(keys.size()), pool_.block_size()));
    keys.push_back(last);
  }
}

// INV-19: nothing rests on the hash alone.
bool PrefixCache::is(BlockId block, std::string_view salt, std::span<const Token> tokens, std::int32_t index,
                     BlockId before) const {
  const Node& found = node(block);
  if (!found.known || !std::ranges::equal(found.tokens, block_tokens(tokens, index, pool_.block_size()))) return false;
  if (index == 0) return found.before.value < 0 && found.salt == salt;
  return found.before == before;
}

std::vector<BlockId> PrefixCache::match(std::string_view salt, std::span<const Token> tokens,
                                        std::span<const BlockKey> keys, std::int32_t max_blocks) const {
  std::vector<BlockId> found;
  const auto most = std::min<std::int32_t>(max_blocks, static_cast<std::int32_t>(keys.size()));
  for (std::int32_t i = 0; i < most; ++i) {
    const auto it = by_key_.find(keys[static_cast<std::size_t>(i)]);
    if (it == by_key_.end() || !is(it->second, salt, tokens, i, i == 0 ? BlockId{-1} : found.back())) break;
    found.push_back(it->second);
  }
  return found;
}

std::optional<BlockId> PrefixCache::publish(std::string_view salt, std::span<const Token> tokens,
                                            std::span<const BlockKey> keys, std::int32_t index, BlockId before,
                                            BlockId block) {
  const BlockKey& key = keys[static_cast<std::size_t>(index)];
  if (index == 0) before = BlockId{-1};
  if (const auto it = by_key_.find(key); it != by_key_.end()) {
    if (is(it->second, salt, tokens, index, before)) return it->second;
    return std::nullopt;
  }
  if (index > 0 && !node(before).known) {
    BUG_IF(!windowed_);
    return std::nullopt;
  }
  if (BUG_IF(node(block).known)) return std::nullopt;
  const auto in_block = block_tokens(tokens, index, pool_.block_size());
  Node& added = node(block);
  added = {true, key,     before, index == 0 ? std::string(salt) : std::string(), {in_block.begin(), in_block.end()},
           {},   kGivenUp};
  if (index > 0) node(before).after.push_back(block);
  by_key_.emplace(key, block);
  pool_.publish(block);
  return block;
}

void PrefixCache::forget(BlockId block) {
  if (BUG_IF(!node(block).known)) return;
  if (const BlockId before = node(block).before; before.value >= 0) std::erase(node(before).after, block);
  std::vector<BlockId> gone = {block};
  for (std::size_t i = 0; i < gone.size(); ++i) {
    Node& lost = node(gone[i]);
    gone.insert(gone.end(), lost.after.begin(), lost.after.end());
    by_key_.erase(lost.key);
    if (lost.beside != kGivenUp) {
      beside_whom_[static_cast<std::size_t>(lost.beside.value)] = kGivenUp;
      beside_->unpublish(lost.beside);
    }
    lost = {};
    pool_.unpublish(gone[i]);
    ++evicted_;
  }
}

Status PrefixCache::audit() const {
  std::size_t known = 0;
  for (std::int32_t i = 0; i < pool_.total_blocks(); ++i) {
    const Node& n = node(BlockId{i});
    const std::string name = "block " + std::to_string(i);
    if (n.known != pool_.published(BlockId{i})) return internal_error(name + " is published without being known");
    if (!n.known) continue;
    ++known;
    const auto it = by_key_.find(n.key);
    if (it == by_key_.end() || it->second.value != i) return internal_error(name + " is not found by its key");
    if (n.before.value < 0) continue;
    if (!node(n.before).known) return internal_error(name + " follows a block that is not known");
    if (!windowed_ && pool_.refs(BlockId{i}) > pool_.refs(n.before)) {
      return internal_error(name + " is held without what it follows");
    }
  }
  if (known != by_key_.size()) return internal_error("the index knows blocks that are not published");
  return beside_ == nullptr ? Status() : audit_beside();
}

Status PrefixCache::audit_beside() const {
  std::size_t beside = 0;
  for (const Node& n : nodes_) beside += n.beside != kGivenUp ? 1 : 0;
  for (std::int32_t i = 0; i < beside_->total_blocks(); ++i) {
    const BlockId whom = beside_whom_[static_cast<std::size_t>(i)];
    const std::string name = "window block " + std::to_string(i);
    if ((whom != kGivenUp) != beside_->published(BlockId{i})) return internal_error(name + " is published for nobody");
    if (whom == kGivenUp) continue;
    if (!node(whom).known || node(whom).beside.value != i) return internal_error(name + " is beside another block");
    --beside;
  }
  return beside == 0 ? Status() : internal_error("blocks have window blocks beside them that do not know of it");
}

}  // namespace foregate
