#include "engine/comm/mpi_job.h"

#include <dlfcn.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <utility>

#include "engine/base/log.h"
#include "engine/comm/mpi_line.h"
#include "engine/comm/mpi_tags.h"

namespace foregate {
namespace {

constexpr const char* kModuleFile = "libforegate_mpi.so";
constexpr auto kCarryPause = std::chrono::milliseconds(20);
constexpr TimeNs kBeatNs = 1'000'000'000;     // of rank 0
constexpr TimeNs kSmallNs = 100'000'000;      // for a byte that has been found
constexpr std::size_t kMostKeptPerRank = 64;  // before a rank that takes nothing is told nothing more
constexpr auto kLeaveLimit = std::chrono::seconds(10);

std::string module_path() {
  char path[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  const std::string program(path, static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  const std::string folder = program.substr(0, program.rfind('/'));
  for (const char* place : {"/", "/../lib/"}) {
    if (::access((folder + place + kModuleFile).c_str(), R_OK) == 0) return folder + place + kModuleFile;
  }
  return {};
}

// Stays loaded for good. RTLD_GLOBAL: MPI libraries load parts of their own that look for its symbols.
Result<const MpiModule*> load_module(const std::string& asked) {
  const std::string path = asked.empty() ? module_path() : asked;
  if (path.empty()) return unavailable(std::string("no ") + kModuleFile + " beside the program");
  void* const handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  void* const entry = handle == nullptr ? nullptr : ::dlsym(handle, kMpiModuleEntry);
  if (entry == nullptr) {
    const char* const why = ::dlerror();
    return unavailable(why != nullptr ? why : path + " is no MPI module");
  }
  const MpiModule* const module = reinterpret_cast<MpiModuleEntry>(entry)();
  if (std::strcmp(module->build, kMpiModuleBuild) == 0) return module;
  return unavailable(path + " is of build " + module->build + ", the program of " + kMpiModuleBuild);
}

}  // namespace

Result<std::shared_ptr<MpiJob>> MpiJob::join(const std::string& path) {
  ASSIGN_OR_RETURN(const MpiModule* const module, load_module(path));
  std::string error;
  MpiPort* const port = module->join(&error);
  if (port == nullptr) return unavailable(error);
  return std::make_shared<MpiJob>(*port);
}

MpiJob::MpiJob(MpiPort& port, TimeNs silent_after)
    : port_(port), silent_after_(silent_after), heard_at_(system_clock().now()) {}

MpiJob::~MpiJob() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  if (carrier_.joinable()) carrier_.join();
  if (!left_) reap();
  for (const auto& [peer, fd] : pulses_) ::close(fd);
}

std::int32_t MpiJob::ranks_sharing_cores() const {
  cpu_set_t own;
  const bool known = ::sched_getaffinity(0, sizeof own, &own) == 0;
  const bool bound = known && CPU_COUNT(&own) < ::sysconf(_SC_NPROCESSORS_ONLN);
  return bound ? 1 : port_.ranks_of_host();
}

std::shared_ptr<RankLine> MpiJob::line(std::int32_t peer) {
  return mpi_line(shared_from_this(), peer);
}

void MpiJob::keep(MpiPort::Request* request, std::vector<std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  kept_.push_back({request, std::move(bytes)});
}

// Under the lock.
void MpiJob::reap() {
  std::erase_if(kept_, [this](const Kept& kept) { return port_.test(kept.request) != MpiPort::Answer::kNo; });
}

// Under the lock. The bytes of what is under way lie in a buffer of their own, which moving the vector leaves in place.
void MpiJob::tell(std::int32_t peer, int tag, std::byte what) {
  if (left_) return;
  reap();
  if (kept_.size() >= kMostKeptPerRank * static_cast<std::size_t>(size())) return;
  std::vector<std::byte> bytes(1, what);
  MpiPort::Request* const request = port_.send(peer, tag, bytes);
  if (request != nullptr) kept_.push_back({request, std::move(bytes)});
}

// A byte that a rank sent, if it did. Under the lock.
bool MpiJob::take(std::int32_t peer, int tag, std::byte& what) {
  std::uint64_t size = 0;
  if (left_) return false;
  if (port_.find(peer, tag, size) != MpiPort::Answer::kYes || size != 1) return false;
  std::vector<std::byte> byte(1);
  MpiPort::Request* const request = port_.receive(peer, tag, byte);
  if (request == nullptr) return false;
  const TimeNs until = system_clock().now() + kSmallNs;
  MpiPort::Answer answer = port_.test(request);
  while (answer == MpiPort::Answer::kNo && system_clock().now() < until) answer = port_.test(request);
  if (answer == MpiPort::Answer::kNo) kept_.push_back({request, std::move(byte)});
  if (answer != MpiPort::Answer::kYes) return false;
  what = byte[0];
  return true;
}

void MpiJob::pulses_to(std::int32_t peer, int fd) {
  const std::lock_guard lock(mutex_);
  pulses_[peer] = fd;
  if (!carrier_.joinable()) carrier_ = std::thread([this] { carry_pulses(); });
}

void MpiJob::end_pulses(std::int32_t peer) {
  const std::lock_guard lock(mutex_);
  const auto at = pulses_.find(peer);
  if (at == pulses_.end()) return;
  ::close(at->second);
  pulses_.erase(at);
}

void MpiJob::lost(std::int32_t peer) {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(lost_, true)) log_warn("rank " + std::to_string(peer) + " of the MPI job is given up");
}

void MpiJob::carry_pulses() {
  TimeNs beat_at = 0;
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      for (const auto& [peer, fd] : pulses_) {
        std::byte says{};
        while (take(peer, kMpiPulse, says)) ::send(fd, &says, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
      }
      const TimeNs now = system_clock().now();
      for (std::int32_t peer = 1; now >= beat_at && peer < size(); ++peer) tell(peer, kMpiPulse, std::byte{0});
      if (now >= beat_at) beat_at = now + kBeatNs;
    }
    std::this_thread::sleep_for(kCarryPause);
  }
}

// Under the lock.
bool MpiJob::rank_zero_is_there() {
  const TimeNs now = system_clock().now();
  std::byte ignored{};
  while (take(0, kMpiPulse, ignored)) heard_at_ = now;
  over_ = over_ || take(0, kMpiEnd, ignored);
  return !over_ && now - heard_at_ < silent_after_;
}

bool MpiJob::pulse(char says) {
  const std::lock_guard lock(mutex_);
  tell(0, kMpiPulse, static_cast<std::byte>(says));
  return rank_zero_is_there();
}

void MpiJob::wait_for_end() {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (!rank_zero_is_there()) return;
    }
    std::this_thread::sleep_for(kCarryPause);
  }
}

void MpiJob::leave() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (std::int32_t peer = 1; rank() == 0 && peer < size(); ++peer) tell(peer, kMpiEnd, std::byte{0});
    if (lost_ || (rank() > 0 && !over_)) return;
    const TimeNs until = system_clock().now() + kSmallNs;
    do {
      reap();
    } while (!kept_.empty() && system_clock().now() < until);
    left_ = true;
  }
  if (carrier_.joinable()) carrier_.join();
  const auto left = std::make_shared<std::pair<std::mutex, std::condition_variable>>();
  const auto done = std::make_shared<bool>(false);
  std::thread([&port = port_, left, done] {
    port.leave();
    const std::lock_guard lock(left->first);
    *done = true;
    left->second.notify_all();
  }).detach();
  std::unique_lock lock(left->first);
  if (!left->second.wait_for(lock, kLeaveLimit, [&] { return *done; })) log_warn("MPI_Finalize does not end");
}

}  // namespace foregate
