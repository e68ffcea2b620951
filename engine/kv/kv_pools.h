// The blocks of an engine: those of the main group, and where the layout is grouped those of layers with a window.
// Owned by the loop, engine thread only.
#pragma once

#include "engine/kv/block_pool.h"
#include "engine/kv/kv_txn.h"
#include "engine/kv/kv_window.h"

namespace foregate {

struct KvPools {
  BlockPool main;
  BlockPool window{0, 1};  // no blocks where there is no such group
  KvWindow reach;          // of the window group
  bool grouped() const { return reach.on(); }
};

// One step's changes to both.
struct KvStep {
  explicit KvStep(KvPools& pools) : main(pools.main), window(pools.window) {}
  KvTxn main;
  KvTxn window;
  void commit() {
    main.commit();
    window.commit();
  }
  void drop() {
    window.drop();
    main.drop();
  }
};

}  // namespace foregate
