// The names of blocks, the index over them, and who is given up first when blocks run out.
#include "engine/kv/prefix_cache.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <set>
#include <type_traits>

#include "engine/base/rng.h"
#include "engine/kv/kv_cache.h"
#include "engine/kv/kv_txn.h"

namespace foregate {
namespace {

constexpr HashSecret kSecret = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};

std::string hex(const BlockKey& key) {
  std::string text;
  unsigned char bytes[16];
  std::memcpy(bytes, &key, 16);
  for (unsigned char byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// The first vectors of the reference implementation (github.com/veorq/SipHash, vectors.h).
TEST(BlockKey, IsSipHash) {
  std::vector<std::byte> input;
  const char* want[] = {"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45",
                        "8177228da4a45dc7fca38bdef60affe4"};
  for (const char* text : want) {
    EXPECT_EQ(hex(siphash128(kSecret, input)), text);
    input.push_back(static_cast<std::byte>(input.size()));
  }
}

TEST(BlockKey, EverythingThatDecidesTheBytesIsInTheName) {
  const std::vector<Token> tokens = {1, 2, 3, 4};
  std::set<std::string> names;
  for (const char* model : {"a", "b"}) {
    for (const HashSecret& secret : {kSecret, HashSecret{1, 2}}) {
      const BlockNamer namer(secret, model);
      for (const char* salt : {"", "x", "y"}) {
        const BlockKey first = namer.next(namer.root(salt), tokens);
        names.insert(hex(first));
        names.insert(hex(namer.next(first, tokens)));
        names.insert(hex(namer.next(first, std::vector<Token>{1, 2, 3, 5})));
      }
    }
  }
  EXPECT_EQ(names.size(), 2u * 2 * 3 * 3);
  EXPECT_NE(draw_secret(), draw_secret());
}

// A pool of blocks of two tokens with one table after another: what a sequence does, without an engine.
struct World {
  explicit World(std::int32_t blocks, bool windowed = false)
      : pool(blocks, 2), cache(pool, BlockNamer(kSecret, "m"), windowed) {}
  BlockPool pool;
  PrefixCache cache;

  std::vector<BlockKey> keys(const std::vector<Token>& tokens, const std::string& salt = "") {
    std::vector<BlockKey> out;
    cache.extend_keys(salt, tokens, out);
    return out;
  }
  std::vector<std::int32_t> find(const std::vector<Token>& tokens, const std::string& salt = "",
                                 std::int32_t most = 100) {
    std::vector<std::int32_t> ids;
    for (BlockId block : cache.match(salt, tokens, keys(tokens, salt), most)) ids.push_back(block.value);
    return ids;
  }
  // Holds what is there, computes and publishes the rest; false when there is no room.
  bool hold(BlockTable& table, const std::vector<Token>& tokens, const std::string& salt = "") {
    const auto names = keys(tokens, salt);
    const auto found = cache.match(salt, tokens, names, 100);
    KvTxn txn(pool);
    txn.share(table, found, std::nullopt);
    const auto full = static_cast<std::int32_t>(tokens.size()) / 2;
    if (!txn.reserve(table, full - static_cast<std::int32_t>(found.size()))) return false;
    txn.commit();
    publish(table, tokens, salt);
    return true;
  }
  void publish(BlockTable& table, const std::vector<Token>& tokens, const std::string& salt = "") {
    const auto names = keys(tokens, salt);
    for (std::int32_t i = 0; i < table.size(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      const auto known =
          cache.publish(salt, tokens, names, i, i > 0 ? table.blocks()[at - 1] : BlockId{-1}, table.blocks()[at]);
      if (!known) return;
      KvTxn::replace(pool, table, i, *known);
    }
  }
  // Computed, published, left.
  void pass(const std::vector<Token>& tokens, const std::string& salt = "", ClientId client = 0) {
    BlockTable table;
    EXPECT_TRUE(hold(table, tokens, salt));
    KvTxn::release_all(pool, table, client);
  }
  void check(std::vector<const BlockTable*> tables = {}) {
    EXPECT_TRUE(pool.audit(tables).ok()) << pool.audit(tables).to_string();
    EXPECT_TRUE(cache.audit().ok()) << cache.audit().to_string();
  }
};

TEST(PrefixCache, FindsTheLongestPrefixOfFullBlocks) {
  World world(8);
  world.pass({1, 2, 3, 4, 5, 6, 7});  // the seventh token fills no block
  EXPECT_EQ(world.find({1, 2, 3, 4, 5, 6, 7, 8}).size(), 3u);
  EXPECT_EQ(world.find({1, 2, 3, 4, 9, 9}).size(), 2u);
  EXPECT_EQ(world.find({1, 2, 3}).size(), 1u);
  EXPECT_EQ(world.find({1}).size(), 0u);
  EXPECT_EQ(world.find({9, 2, 3, 4}).size(), 0u);
  EXPECT_EQ(world.find({3, 4, 5, 6}).size(), 0u) << "the same tokens elsewhere are another block";
  EXPECT_EQ(world.find({1, 2, 3, 4, 5, 6}, "", 1).size(), 1u);
  EXPECT_EQ(world.pool.free_blocks(), 8);
  EXPECT_EQ(world.pool.kept_blocks(), 3);
  world.check();
}

// A sequence may let its first blocks go; once they are evicted, what follows them is found by nobody, and what it
// computes after that is not published.
TEST(PrefixCache, BlocksBehindAWindowAreKeptUntilTheyAreNeeded) {
  World world(6, true);
  BlockTable table;
  const std::vector<Token> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  ASSERT_TRUE(world.hold(table, {1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(KvTxn::give_up_before(world.pool, table, 2, 0), 2);
  world.check({&table});
  EXPECT_EQ(world.pool.kept_blocks(), 2);
  EXPECT_EQ(world.find(tokens).size(), 3u) << "all of it is still there";
  KvTxn more(world.pool);
  ASSERT_TRUE(more.reserve(table, 4)) << "three empty ones, and one of those kept";
  more.commit();
  EXPECT_EQ(world.find(tokens).size(), 1u) << "the first block goes last";
  world.check({&table});
  const auto names = world.keys(tokens);
  EXPECT_FALSE(world.cache.publish("", tokens, names, 3, table.blocks()[2], table.blocks()[3]).has_value());
  KvTxn::release_all(world.pool, table);
  world.check();
  EXPECT_EQ(world.pool.free_blocks(), 6);
}

TEST(PrefixCache, SaltsNeverMeet) {
  World world(8);
  world.pass({1, 2, 3, 4}, "a");
  EXPECT_EQ(world.find({1, 2, 3, 4}, "a").size(), 2u);
  EXPECT_EQ(world.find({1, 2, 3, 4}, "b").size(), 0u);
  EXPECT_EQ(world.find({1, 2, 3, 4}, "").size(), 0u);
}

// A name that two prompts share, as if the hash had been broken: the tokens decide.
TEST(PrefixCache, AHitIsVerifiedByItsTokens) {
  World world(8);
  world.pass({1, 2, 3, 4});
  const auto stolen = world.keys({1, 2, 3, 4});
  EXPECT_TRUE(world.cache.match("", std::vector<Token>{1, 9, 3, 4}, stolen, 2).empty());
  EXPECT_EQ(world.cache.match("", std::vector<Token>{1, 2, 3, 9}, stolen, 2).size(), 1u);
  EXPECT_TRUE(world.cache.match("salt", std::vector<Token>{1, 2, 3, 4}, stolen, 2).empty());
  BlockTable other;
  KvTxn txn(world.pool);
  ASSERT_TRUE(txn.reserve(other, 1));
  txn.commit();
  EXPECT_FALSE(world.cache.publish("", std::vector<Token>{1, 9}, stolen, 0, BlockId{-1}, other.blocks()[0]));
  EXPECT_FALSE(world.pool.published(other.blocks()[0]));
  KvTxn::release_all(world.pool, other);
  world.check();
}

TEST(PrefixCache, TheSameContentsAreKeptOnce) {
  World world(8);
  BlockTable a;
  BlockTable b;
  KvTxn txn(world.pool);
  ASSERT_TRUE(txn.reserve(a, 2));
  ASSERT_TRUE(txn.reserve(b, 2));
  txn.commit();
  world.publish(a, {1, 2, 3, 4});
  world.publish(b, {1, 2, 3, 4});
  EXPECT_EQ(a.blocks()[1], b.blocks()[1]);
  EXPECT_EQ(world.pool.refs(a.blocks()[0]), 2);
  EXPECT_EQ(world.pool.free_blocks(), 6);
  world.check({&a, &b});
  KvTxn::release_all(world.pool, a);
  KvTxn::release_all(world.pool, b);
  world.check();
}

TEST(PrefixCache, GivesUpTheLeastRecentlyUsedFromTheEndOfAPrefix) {
  World world(6);
  world.pass({1, 1, 2, 2, 3, 3});
  world.pass({7, 7, 8, 8});
  EXPECT_EQ(world.find({1, 1, 2, 2, 3, 3}).size(), 3u);
  world.pass({1, 1});  // used again, the rest of that prompt is not
  BlockTable table;
  ASSERT_TRUE(world.hold(table, {9, 9, 9, 9}));  // one is empty, one has to go
  EXPECT_EQ(world.find({1, 1, 2, 2, 3, 3}).size(), 2u);
  EXPECT_EQ(world.find({7, 7, 8, 8}).size(), 2u);
  BlockTable more;
  ASSERT_TRUE(world.hold(more, {5, 5, 5, 5, 5, 5}));
  EXPECT_EQ(world.find({7, 7, 8, 8}).size(), 0u);
  EXPECT_EQ(world.find({1, 1, 2, 2}).size(), 1u);
  EXPECT_EQ(world.cache.evicted(), 4);
  BlockTable none;
  EXPECT_FALSE(world.hold(none, {4, 4, 4, 4})) << "one block is left";
  world.check({&table, &more});
}

// Of a flood by one client and two others: what is within a client's share of half the pool stays.
TEST(PrefixCache, AFloodLeavesOthersTheirShare) {
  World world(64);
  for (Token t = 0; t < 12; ++t) world.pass({1, t}, "", 1);
  for (Token t = 0; t < 3; ++t) world.pass({2, t}, "", 2);
  for (Token t = 0; t < 500; ++t) world.pass({3, t}, "", 3);
  const auto left = [&](Token client, Token count) {
    int found = 0;
    for (Token t = 0; t < count; ++t) found += world.find({client, t}).empty() ? 0 : 1;
    return found;
  };
  EXPECT_EQ(world.pool.kept().floor(), 64 / 2 / 3);
  EXPECT_EQ(left(1, 12), 10);
  EXPECT_EQ(left(2, 3), 3);
  EXPECT_EQ(left(3, 500), 64 - 10 - 3);
  // Running sequences come first all the same.
  BlockTable table;
  KvTxn txn(world.pool);
  ASSERT_TRUE(txn.reserve(table, 64));
  EXPECT_EQ(left(1, 12), 0);
  txn.drop();
  world.check();
}

TEST(KvTxn, AWriterGetsItsOwnCopyOfASharedTail) {
  World world(6);
  world.pass({1, 1, 2, 2});
  BlockTable table;
  const auto found = world.find({1, 1, 2, 2});
  {
    KvTxn txn(world.pool);
    txn.share(table, std::vector<BlockId>{{found[0]}}, BlockId{found[1]});
    EXPECT_FALSE(txn.writable(table, 0));
    ASSERT_TRUE(txn.reserve(table, 2));
    ASSERT_EQ(txn.copies().size(), 1u);
    EXPECT_EQ(txn.copies()[0].from.value, found[1]);
    EXPECT_NE(txn.copies()[0].to.value, found[1]);
    EXPECT_FALSE(txn.writable(table, 0));
    EXPECT_TRUE(txn.writable(table, 1));
    EXPECT_TRUE(txn.writable(table, 2));
    EXPECT_FALSE(txn.writable(table, 3));
    EXPECT_EQ(world.pool.free_blocks(), 2);
  }
  world.check();
  EXPECT_EQ(world.pool.free_blocks(), 6) << "dropped: all is back";
  EXPECT_EQ(world.find({1, 1, 2, 2}), found);
  KvTxn txn(world.pool);
  txn.share(table, std::vector<BlockId>{{found[0]}}, BlockId{found[1]});
  ASSERT_TRUE(txn.reserve(table, 2));
  txn.commit();
  EXPECT_EQ(table.size(), 3);
  EXPECT_EQ(world.pool.refs(BlockId{found[0]}), 1);
  EXPECT_EQ(world.pool.refs(BlockId{found[1]}), 0);
  world.check({&table});
  KvTxn::release_all(world.pool, table);
  world.check();
}

// Random prompts over few tokens, tables of random length of life: what is found holds what was asked for.
TEST(PrefixCache, ConservationOverRandomUse) {
  std::int64_t hits = 0;
  std::int64_t evictions = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    World world(24);
    std::vector<BlockTable> tables(4);
    for (std::uint64_t step = 0; step < 300; ++step) {
      const auto draw = [&](std::uint64_t what, int below) {
        return static_cast<int>(uniform01(seed, what, step) * below);
      };
      BlockTable& table = tables[static_cast<std::size_t>(draw(1, 4))];
      KvTxn::release_all(world.pool, table, static_cast<ClientId>(draw(2, 3)));
      std::vector<Token> tokens;
      for (int i = 0, n = draw(3, 16); i < n; ++i) tokens.push_back(draw(100 + static_cast<std::uint64_t>(i), 2));
      const std::string salt = draw(4, 2) == 0 ? "" : "s";
      hits += world.find(tokens, salt).empty() ? 0 : 1;
      if (!world.hold(table, tokens, salt)) continue;
      std::vector<const BlockTable*> views;
      for (const BlockTable& t : tables) views.push_back(&t);
      world.check(views);
      if (::testing::Test::HasFailure()) return;
    }
    evictions += world.cache.evicted();
  }
  EXPECT_GT(hits, 1000);
  EXPECT_GT(evictions, 1000);
}

class Host : public Device {
 public:
  std::string describe() const override { return "host"; }
  Memory allocate(std::size_t bytes) override {
    return Memory(std::calloc(bytes, 1), bytes, [](void* data, std::size_t) { std::free(data); });
  }
  std::unique_ptr<Stream> create_stream() override { return nullptr; }
};

TEST(KvCache, CopiesAndWipesABlockInEveryLayer) {
  Host device;
  KvLayout layout;
  layout.layers = {{KvKind::kFull, 2, 4, 0}, {KvKind::kFull, 1, 8, 0}};
  layout.block_size = 3;
  auto cache = KvCache::create(device, layout, 5);
  ASSERT_TRUE(cache.ok());
  const auto cell = [&](int layer, void* KvPages::*side, int block) {
    const KvPages pages = cache->pages(LayerId{layer});
    return static_cast<float*>(pages.*side) + block * 3 * 8;
  };
  for (int layer : {0, 1}) {
    for (int i = 0; i < 24; ++i) {
      cell(layer, &KvPages::k, 1)[i] = static_cast<float>(layer * 100 + i + 1);
      cell(layer, &KvPages::v, 1)[i] = static_cast<float>(-layer * 100 - i - 1);
    }
  }
  cache->copy_block(BlockId{1}, BlockId{4});
  for (int layer : {0, 1}) {
    for (auto side : {&KvPages::k, &KvPages::v}) {
      EXPECT_EQ(std::memcmp(cell(layer, side, 4), cell(layer, side, 1), 24 * sizeof(float)), 0);
      EXPECT_EQ(cell(layer, side, 3)[23], 0.0f);
    }
  }
  cache->zero_block(BlockId{1});
  EXPECT_EQ(cell(1, &KvPages::v, 1)[23], 0.0f);
  EXPECT_EQ(cell(1, &KvPages::v, 4)[23], -124.0f);
}

// Codes and their scales go together.
TEST(KvCache, BlocksInInt8AreCopiedSavedAndWipedWithTheirScales) {
  Host device;
  KvLayout layout;
  layout.layers = {{KvKind::kFull, 2, 4, 0}, {KvKind::kFull, 1, 6, 0}};
  layout.type = DType::kI8;
  layout.block_size = 3;
  auto cache = KvCache::create(device, layout, 4);
  ASSERT_TRUE(cache.ok());
  const auto each = [&](int block, const auto& with) {  // with(code or scale, its number), of all in the block
    int number = 1;
    for (int layer : {0, 1}) {
      const KvPages p = cache->pages(LayerId{layer});
      for (std::int32_t h = 0; h < p.kv_heads; ++h) {
        for (std::int32_t at = 0; at < 3; ++at) {
          with(p.k_scales[scale_index(p, block, h, at)], number++, at);
          with(p.v_scales[scale_index(p, block, h, at)], number++, at);
          for (std::int32_t d = 0; d < p.head_dim; ++d) {
            with(static_cast<std::int8_t*>(p.k)[key_index(p, block, h, at) + d * key_step(p, at)], number++, at);
            with(static_cast<std::int8_t*>(p.v)[value_index(p, block, h, at) + d], number++, at);
          }
        }
      }
    }
  };
  const auto expect = [&](int block, bool wiped_from_one) {
    each(block, [&](auto& cell, int number, std::int32_t at) {
      EXPECT_EQ(static_cast<int>(cell), wiped_from_one && at > 0 ? 0 : number % 120) << block << " " << number;
    });
  };
  each(1, [](auto& cell, int number, std::int32_t) {
    cell = static_cast<std::remove_reference_t<decltype(cell)>>(number % 120);
  });
  expect(1, false);
  cache->copy_block(BlockId{1}, BlockId{3});
  std::vector<std::byte> saved(static_cast<std::size_t>(layout.block_bytes()));
  cache->save_block(BlockId{1}, saved.data());
  cache->zero_block(BlockId{1});
  each(1, [](auto& cell, int, std::int32_t) { EXPECT_EQ(cell, 0); });
  cache->load_block(BlockId{0}, saved.data());
  expect(0, false);
  expect(3, false);
  cache->zero_positions(BlockId{3}, 1, 3);
  expect(3, true);
  expect(0, false);
}

TEST(KvCache, InInt8IsForTheHost) {
  class Card final : public Host {
    bool host_visible() const override { return false; }
  } device;
  KvLayout layout;
  layout.layers = {{KvKind::kFull, 1, 4, 0}};
  layout.type = DType::kI8;
  const auto cache = KvCache::create(device, layout, 4);
  EXPECT_EQ(cache.status().code(), Code::kUnimplemented);
  EXPECT_EQ(cache.status().field(), "kv_cache_dtype");
}

}  // namespace
}  // namespace foregate
