#include "kernels/cuda/nccl_peers.h"

#include <dlfcn.h>

#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "kernels/cuda/cuda_stream.h"
#include "kernels/cuda/nccl_calls.h"

namespace foregate {
namespace {

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// A communicator that does not block (ncclConfig_t::blocking 0): calls say kNcclInProgress, and what became of them is
// asked for. That is what makes a limit possible: a peer that never comes leaves nothing waiting here.
class NcclPeers final : public Peers {
 public:
  explicit NcclPeers(const NcclCalls& nccl) : nccl_(nccl) {}
  ~NcclPeers() override {
    abort();
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }

  bool join(const PeersOptions& options) {
    rank_ = options.rank;
    size_ = options.size;
    if (!cuda(cudaSetDevice(options.ordinal), "cudaSetDevice")) return false;
    if (!cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream of peers")) return false;
    NcclUniqueId id;
    std::memcpy(id.internal, options.id.data(), sizeof id.internal);
    NcclConfig config;
    if (!nccl(nccl_.CommInitRankConfig(&comm_, size_, id, rank_, &config), "ncclCommInitRankConfig")) return false;
    const auto limit = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.limit_seconds);
    while (true) {
      const int state = progress();
      if (state == kNcclSuccess) return true;
      if (state != kNcclInProgress) return false;
      if (std::chrono::steady_clock::now() >= limit) return fail("the peers have not all joined in time");
      if (options.cancelled != nullptr && *options.cancelled) return fail("nobody waits for the peers any more");
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }

  std::int32_t rank() const override { return rank_; }
  std::int32_t size() const override { return size_; }
  const std::string& failure() const override { return failure_; }

  void after(Stream& stream) override {
    made_.record(stream);
    if (failure_.empty()) cuda(made_.hold(stream_), "waiting for what is sent");
  }

  bool begin(std::span<const PeerBlock> blocks) override {
    if (!failure_.empty()) return false;
    if (running_) return fail("a group has begun before the last was done");
    for (const PeerBlock& block : blocks) {
      if (block.peer < 0 || block.peer >= size_) return fail("there is no peer " + std::to_string(block.peer));
    }
    if (!nccl(nccl_.GroupStart(), "ncclGroupStart")) return false;
    for (const PeerBlock& block : blocks) {
      const int begun = block.sends ? nccl_.Send(block.data, block.bytes, kNcclUint8, block.peer, comm_, stream_)
                                    : nccl_.Recv(block.data, block.bytes, kNcclUint8, block.peer, comm_, stream_);
      if (!nccl(begun, block.sends ? "ncclSend" : "ncclRecv")) return false;
    }
    running_ = true;
    return nccl(nccl_.GroupEnd(), "ncclGroupEnd");
  }

  State state() override {
    if (!failure_.empty()) return State::kFailed;
    if (!running_) return State::kDone;
    const int begun = progress();
    if (begun == kNcclInProgress) return State::kRunning;
    if (begun != kNcclSuccess) return State::kFailed;
    const cudaError_t done = cudaStreamQuery(stream_);
    if (done == cudaErrorNotReady) return State::kRunning;
    if (!cuda(done, "the stream of peers")) return State::kFailed;
    running_ = false;
    return State::kDone;
  }

  void abort() override {
    if (comm_ == nullptr) return;
    nccl_.CommAbort(comm_);
    comm_ = nullptr;
    if (failure_.empty()) failure_ = "the peers were aborted";
  }

 private:
  bool fail(const std::string& why) {
    if (failure_.empty()) failure_ = why;
    return false;
  }
  bool cuda(cudaError_t error, const char* what) {
    return error == cudaSuccess || fail(std::string(what) + ": " + cudaGetErrorString(error));
  }
  bool nccl(int result, const char* what) {
    return result == kNcclSuccess || result == kNcclInProgress ||
           fail(std::string(what) + ": " + nccl_.GetErrorString(result));
  }
  // kNcclSuccess, kNcclInProgress, or an error that is now the failure.
  int progress() {
    int state = kNcclSuccess;
    const int asked = nccl_.CommGetAsyncError(comm_, &state);
    if (asked != kNcclSuccess && asked != kNcclInProgress) state = asked;
    if (state != kNcclSuccess && state != kNcclInProgress) fail(std::string("NCCL: ") + nccl_.GetErrorString(state));
    return state;
  }

  const NcclCalls& nccl_;
  NcclComm comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
  CudaEvent made_;
  std::int32_t rank_ = 0, size_ = 1;
  bool running_ = false;
  std::string failure_;
};

}  // namespace

const NcclCalls* load_nccl(const std::string& library, std::string* error) {
  static std::mutex mutex;
  static std::map<std::string, NcclCalls> loaded;
  const std::lock_guard lock(mutex);
  const std::string name = library.empty() ? "libnccl.so.2" : library;
  if (const auto at = loaded.find(name); at != loaded.end()) return &at->second;
  void* const handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    *error = dlerror();
    return nullptr;
  }
  NcclCalls calls;
  const bool all = find(handle, "ncclGetUniqueId", calls.GetUniqueId) &&
                   find(handle, "ncclCommInitRankConfig", calls.CommInitRankConfig) &&
                   find(handle, "ncclCommGetAsyncError", calls.CommGetAsyncError) &&
                   find(handle, "ncclCommAbort", calls.CommAbort) && find(handle, "ncclGroupStart", calls.GroupStart) &&
                   find(handle, "ncclGroupEnd", calls.GroupEnd) && find(handle, "ncclSend", calls.Send) &&
                   find(handle, "ncclRecv", calls.Recv) && find(handle, "ncclGetErrorString", calls.GetErrorString);
  if (!all) {
    *error = name + " is no NCCL of version 2.14 or later";
    return nullptr;
  }
  return &loaded.emplace(name, calls).first->second;
}

std::unique_ptr<Peers> join_nccl_peers(const PeersOptions& options, std::string* error) {
  const NcclCalls* const nccl = load_nccl(options.library, error);
  if (nccl == nullptr) return nullptr;
  auto peers = std::make_unique<NcclPeers>(*nccl);
  if (peers->join(options)) return peers;
  *error = peers->failure();
  return nullptr;
}

bool make_nccl_id(const std::string& library, PeerId* id, std::string* error) {
  const NcclCalls* const nccl = load_nccl(library, error);
  if (nccl == nullptr) return false;
  NcclUniqueId made;
  const int result = nccl->GetUniqueId(&made);
  if (result != kNcclSuccess) {
    *error = std::string("ncclGetUniqueId: ") + nccl->GetErrorString(result);
    return false;
  }
  std::memcpy(id->data(), made.internal, sizeof made.internal);
  return true;
}

}  // namespace foregate
