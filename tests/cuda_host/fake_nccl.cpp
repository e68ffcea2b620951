// A library with the calls of NCCL that kernels/cuda/nccl_calls.h names, between threads of one process: blocks move
// when both ends have given theirs. What it cannot say: nothing here runs on a stream, and every copy is at once.
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#define FOREGATE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int kSuccess = 0, kSystemError = 2, kInvalidUsage = 5, kInProgress = 7;

struct Id {
  char internal[128];
};
struct Config {
  std::size_t size;
  unsigned magic, version;
  int blocking;
};
struct Block {
  char* data;
  std::size_t bytes;
  bool* moved;
};
struct Set {
  int joined = 0, size = 0;
  bool broken = false;
  std::map<std::pair<int, int>, std::deque<Block>> sent, wanted;  // by (from, to)
};
struct Comm {
  std::shared_ptr<Set> set;
  int rank = 0;
  std::deque<bool> moved;  // of the blocks of the group
};
struct Given {
  Comm* comm;
  bool sends;
  int peer;
  char* data;
  std::size_t bytes;
};

std::mutex mutex;
std::map<std::string, std::shared_ptr<Set>> sets;
int made = 0;
thread_local std::vector<Given> group;

void move(Set& set) {
  for (auto& [way, sent] : set.sent) {
    std::deque<Block>& wanted = set.wanted[way];
    while (!sent.empty() && !wanted.empty()) {
      if (sent.front().bytes != wanted.front().bytes) {
        set.broken = true;
        return;
      }
      std::memcpy(wanted.front().data, sent.front().data, sent.front().bytes);
      *wanted.front().moved = *sent.front().moved = true;
      sent.pop_front();
      wanted.pop_front();
    }
  }
}

}  // namespace

FOREGATE_EXPORT int ncclGetUniqueId(Id* id) {
  const std::lock_guard lock(mutex);
  *id = {};
  const std::string name = "set" + std::to_string(++made);
  std::memcpy(id->internal, name.data(), name.size());
  return kSuccess;
}

FOREGATE_EXPORT int ncclCommInitRankConfig(void** comm, int size, Id id, int rank, Config* config) {
  const std::lock_guard lock(mutex);
  if (config->magic != 0xcafebeef || config->size < sizeof(Config) || config->blocking != 0) return kInvalidUsage;
  std::shared_ptr<Set>& set = sets[id.internal];
  if (!set) set = std::make_shared<Set>();
  if (set->joined == 0) set->size = size;
  if (set->size != size || rank < 0 || rank >= size) return kInvalidUsage;
  ++set->joined;
  *comm = new Comm{set, rank, {}};
  return kInProgress;
}

FOREGATE_EXPORT int ncclCommGetAsyncError(void* of, int* state) {
  const std::lock_guard lock(mutex);
  Comm& comm = *static_cast<Comm*>(of);
  *state = kSuccess;
  if (comm.set->joined < comm.set->size) *state = kInProgress;
  if (*state == kSuccess) move(*comm.set);
  for (const bool moved : comm.moved) {
    if (!moved) *state = kInProgress;
  }
  if (comm.set->broken) *state = kSystemError;
  return kSuccess;
}

FOREGATE_EXPORT int ncclCommAbort(void* of) {
  const std::lock_guard lock(mutex);
  Comm* const comm = static_cast<Comm*>(of);
  for (auto* blocks : {&comm->set->sent, &comm->set->wanted}) {
    for (auto& [way, queue] : *blocks) {
      const bool own = blocks == &comm->set->sent ? way.first == comm->rank : way.second == comm->rank;
      if (own) queue.clear();
    }
  }
  delete comm;
  return kSuccess;
}

FOREGATE_EXPORT int ncclGroupStart() {
  group.clear();
  return kSuccess;
}

FOREGATE_EXPORT int ncclSend(const void* data, std::size_t count, int type, int peer, void* comm, void*) {
  if (type != 1) return kInvalidUsage;
  group.push_back({static_cast<Comm*>(comm), true, peer, const_cast<char*>(static_cast<const char*>(data)), count});
  return kSuccess;
}

FOREGATE_EXPORT int ncclRecv(void* data, std::size_t count, int type, int peer, void* comm, void*) {
  if (type != 1) return kInvalidUsage;
  group.push_back({static_cast<Comm*>(comm), false, peer, static_cast<char*>(data), count});
  return kSuccess;
}

FOREGATE_EXPORT int ncclGroupEnd() {
  const std::lock_guard lock(mutex);
  for (const Given& given : group) given.comm->moved.clear();
  for (const Given& given : group) {
    bool& moved = given.comm->moved.emplace_back(false);
    Set& set = *given.comm->set;
    const int own = given.comm->rank;
    auto& queue = given.sends ? set.sent[{own, given.peer}] : set.wanted[{given.peer, own}];
    queue.push_back({given.data, given.bytes, &moved});
  }
  return group.empty() ? kSuccess : kInProgress;
}

FOREGATE_EXPORT const char* ncclGetErrorString(int result) {
  return result == kInvalidUsage ? "invalid usage" : "unhandled system error";
}
