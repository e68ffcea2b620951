// A library with the calls of NCCL that kernels/cuda/nccl_calls.h names, between threads and processes of one machine:
// a set of peers is a directory, what crosses is a file that its receiver takes. Blocks are read and written by the
// streams they are given with, so in the order of those and where device memory is within reach. What a test plants, by
// fake_nccl_plant() or the environment (FOREGATE_FAKE_NCCL), is a word and the rank that it is for, "stops@1":
//
//   no-id     there is no name for a set        no-init   nobody joins
//   stops     blocks never arrive               breaks    groups fail, some time after they began
//
// "stops@1:20" lets twenty groups of the process pass first.
#include <cuda_runtime.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#define FOREGATE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

namespace fs = std::filesystem;

constexpr int kSuccess = 0, kSystemError = 2, kInvalidUsage = 5, kInProgress = 7;

struct Id {
  char internal[128];
};
struct Config {
  std::size_t size;
  unsigned magic, version;
  int blocking;
};
struct Comm;
struct Block {
  Comm* comm;
  bool sends;
  int peer;
  char* data;
  std::size_t bytes;
  EmulatedQueue* stream;
  std::string file = {};
  bool begun = false;  // sent: the file was written; received: its contents are under way
};
struct Comm {
  std::string dir;
  int rank = 0, size = 1;
  bool joined = false;
  std::deque<Block> group;
  std::map<std::pair<int, int>, std::uint64_t> numbers;  // by (from, to): of the next block
};
struct Plan {
  std::string what;
  int rank = -1;   // all
  int groups = 0;  // that pass before
};

std::mutex mutex;
thread_local std::vector<Block> given;
int made = 0;
int groups = 0;
Plan plan;
bool planned = false;

Plan parse(const std::string& text) {
  Plan read;
  read.what = text.substr(0, text.find('@'));
  if (read.what == text) return read;
  const std::string rest = text.substr(read.what.size() + 1);
  read.rank = std::atoi(rest.c_str());
  if (const auto colon = rest.find(':'); colon != std::string::npos) read.groups = std::atoi(rest.c_str() + colon + 1);
  return read;
}

bool faulty(const char* what, int rank) {
  if (!planned) {
    const char* const text = std::getenv("FOREGATE_FAKE_NCCL");
    plan = parse(text == nullptr ? "" : text);
    planned = true;
  }
  return plan.what == what && (plan.rank < 0 || plan.rank == rank) && groups >= plan.groups;
}

std::string member(const Comm& comm, int rank) {
  return comm.dir + "/rank" + std::to_string(rank);
}
std::string broken(const Comm& comm) {
  return comm.dir + "/broken";
}

bool there(const std::string& path, std::size_t* bytes = nullptr) {
  struct stat found;
  if (stat(path.c_str(), &found) != 0) return false;
  if (bytes != nullptr) *bytes = static_cast<std::size_t>(found.st_size);
  return true;
}

// Whole or not at all.
void write_file(const std::string& path, const char* data, std::size_t bytes) {
  const std::string part = path + ".part";
  std::FILE* const file = std::fopen(part.c_str(), "wb");
  if (file == nullptr) return;
  std::fwrite(data, 1, bytes, file);
  std::fclose(file);
  std::rename(part.c_str(), path.c_str());
}

void put(Block& block) {
  auto* const copy = new Block(block);
  const auto run = [](void* body) {
    const Block& b = *static_cast<Block*>(body);
    if (b.sends) return write_file(b.file, b.data, b.bytes);
    if (std::FILE* const file = std::fopen(b.file.c_str(), "rb"); file != nullptr) {
      const bool whole = std::fread(b.data, 1, b.bytes, file) == b.bytes;
      std::fclose(file);
      if (whole) unlink(b.file.c_str());
    }
  };
  block.stream->put(
      *block.stream, run, [](void* body) { delete static_cast<Block*>(body); }, copy);
  block.stream->run(*block.stream);
  block.begun = true;
}

// Of a group, what can go on does. False: blocks of two sizes met.
bool advance(Comm& comm) {
  if (faulty("stops", comm.rank) || faulty("breaks", comm.rank)) return true;
  for (Block& block : comm.group) {
    if (block.sends && !block.begun) put(block);
    if (block.sends || block.begun) continue;
    std::size_t bytes = 0;
    if (!there(block.file, &bytes)) continue;
    if (bytes != block.bytes) {
      write_file(broken(comm), "", 0);
      return false;
    }
    put(block);
  }
  return true;
}

void give(void* comm, bool sends, int peer, char* data, std::size_t bytes, cudaStream_t stream) {
  given.push_back({.comm = static_cast<Comm*>(comm),
                   .sends = sends,
                   .peer = peer,
                   .data = data,
                   .bytes = bytes,
                   .stream = reinterpret_cast<EmulatedQueue*>(stream)});
}

bool over(const Block& block) {
  return block.begun && !there(block.file);
}

}  // namespace

FOREGATE_EXPORT void fake_nccl_plant(const char* what) {
  const std::lock_guard lock(mutex);
  plan = parse(what);
  planned = true;
  groups = 0;
}

FOREGATE_EXPORT int ncclGetUniqueId(Id* id) {
  const std::lock_guard lock(mutex);
  if (faulty("no-id", 0)) return kSystemError;
  *id = {};
  std::error_code error;
  const std::string dir = "/tmp/foregate-fake-nccl-" + std::to_string(getpid()) + "-" + std::to_string(++made);
  fs::remove_all(dir, error);
  if (!fs::create_directory(dir, error)) return kSystemError;
  std::memcpy(id->internal, dir.data(), dir.size());
  return kSuccess;
}

FOREGATE_EXPORT int ncclCommInitRankConfig(void** comm, int size, Id id, int rank, Config* config) {
  const std::lock_guard lock(mutex);
  if (config->magic != 0xcafebeef || config->size < sizeof(Config) || config->blocking != 0) return kInvalidUsage;
  if (rank < 0 || rank >= size || !there(id.internal)) return kInvalidUsage;
  if (faulty("no-init", rank)) return kSystemError;
  auto* const joins = new Comm{.dir = id.internal, .rank = rank, .size = size, .group = {}, .numbers = {}};
  write_file(member(*joins, rank), "", 0);
  *comm = joins;
  return kInProgress;
}

FOREGATE_EXPORT int ncclCommGetAsyncError(void* of, int* state) {
  const std::lock_guard lock(mutex);
  Comm& comm = *static_cast<Comm*>(of);
  *state = kInProgress;
  if (!comm.joined) {
    for (int rank = 0; rank < comm.size; ++rank) {
      if (!there(member(comm, rank))) return kSuccess;
    }
    comm.joined = true;
  }
  if (!comm.group.empty() && faulty("breaks", comm.rank)) *state = kSystemError;
  if (there(broken(comm))) *state = kSystemError;
  if (*state == kSystemError) return kSuccess;
  if (!advance(comm)) *state = kSystemError;
  if (*state == kSystemError) return kSuccess;
  for (const Block& block : comm.group) {
    if (!over(block) || !there(comm.dir)) return kSuccess;
  }
  if (!comm.group.empty()) ++groups;
  comm.group.clear();
  *state = kSuccess;
  return kSuccess;
}

// Blocks of its own that nobody took are lost. The set ends with its first peer: the others wait for nothing then.
FOREGATE_EXPORT int ncclCommAbort(void* of) {
  const std::lock_guard lock(mutex);
  auto* const comm = static_cast<Comm*>(of);
  for (const Block& block : comm->group) {
    if (block.sends) unlink(block.file.c_str());
  }
  std::error_code error;
  if (comm->rank == 0) fs::remove_all(comm->dir, error);
  delete comm;
  return kSuccess;
}

FOREGATE_EXPORT int ncclGroupStart() {
  given.clear();
  return kSuccess;
}

FOREGATE_EXPORT int ncclSend(const void* data, std::size_t count, int type, int peer, void* comm, cudaStream_t stream) {
  if (type != 1) return kInvalidUsage;
  give(comm, true, peer, const_cast<char*>(static_cast<const char*>(data)), count, stream);
  return kSuccess;
}

FOREGATE_EXPORT int ncclRecv(void* data, std::size_t count, int type, int peer, void* comm, cudaStream_t stream) {
  if (type != 1) return kInvalidUsage;
  give(comm, false, peer, static_cast<char*>(data), count, stream);
  return kSuccess;
}

FOREGATE_EXPORT int ncclGroupEnd() {
  const std::lock_guard lock(mutex);
  for (Block& block : given) {
    Comm& comm = *block.comm;
    const auto way = block.sends ? std::pair(comm.rank, block.peer) : std::pair(block.peer, comm.rank);
    // One's own blocks are counted at each end.
    std::uint64_t& number = comm.numbers[block.peer == comm.rank ? std::pair(way.first, block.sends ? -1 : -2) : way];
    block.file = comm.dir + "/from" + std::to_string(way.first) + "to" + std::to_string(way.second) + "no" +
                 std::to_string(number++);
    comm.group.push_back(block);
  }
  for (const Block& block : given) advance(*block.comm);
  return given.empty() ? kSuccess : kInProgress;
}

FOREGATE_EXPORT const char* ncclGetErrorString(int result) {
  return result == kInvalidUsage ? "invalid usage" : "unhandled system error";
}
