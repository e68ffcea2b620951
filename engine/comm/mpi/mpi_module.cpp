// MpiPort over the MPI library that this module is linked to. One lock holds all calls, so MPI_THREAD_SERIALIZED is
// enough.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <climits>
#include <memory>
#include <mutex>

#include "engine/comm/mpi_port.h"

namespace foregate {

struct MpiPort::Request {
  MPI_Request request = MPI_REQUEST_NULL;
};

namespace {

class Port final : public MpiPort {
 public:
  // False with *error.
  bool join(std::string* error) {
    int given = 0;
    if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &given) != MPI_SUCCESS) {
      *error = "MPI_Init_thread failed";
      return false;
    }
    if (given < MPI_THREAD_SERIALIZED) {
      *error = "this MPI library does not serve several threads (MPI_THREAD_SERIALIZED)";
      return false;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm host = MPI_COMM_NULL;
    int of_host = 1;
    const bool made = MPI_Comm_dup(MPI_COMM_WORLD, &comm_) == MPI_SUCCESS &&
                      MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN) == MPI_SUCCESS &&
                      MPI_Comm_rank(comm_, &rank_) == MPI_SUCCESS && MPI_Comm_size(comm_, &size_) == MPI_SUCCESS &&
                      MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host) == MPI_SUCCESS &&
                      MPI_Comm_size(host, &of_host) == MPI_SUCCESS && MPI_Comm_free(&host) == MPI_SUCCESS;
    of_host_ = of_host;
    if (!made) *error = "MPI made no communicator";
    return made;
  }

  std::int32_t rank() const override { return rank_; }
  std::int32_t size() const override { return size_; }
  std::int32_t ranks_of_host() const override { return of_host_; }

  Request* send(std::int32_t to, int tag, std::span<const std::byte> bytes) override {
    if (bytes.size() > INT_MAX) return nullptr;
    auto request = std::make_unique<Request>();
    const std::lock_guard lock(mutex_);
    const int begun =
        MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, to, tag, comm_, &request->request);
    return begun == MPI_SUCCESS ? request.release() : nullptr;
  }

  Answer find(std::int32_t from, int tag, std::uint64_t& bytes) override {
    const std::lock_guard lock(mutex_);
    int found = 0;
    MPI_Status status;
    if (MPI_Iprobe(from, tag, comm_, &found, &status) != MPI_SUCCESS) return Answer::kFailed;
    if (found == 0) return Answer::kNo;
    int count = 0;
    if (MPI_Get_count(&status, MPI_BYTE, &count) != MPI_SUCCESS || count < 0) return Answer::kFailed;
    bytes = static_cast<std::uint64_t>(count);
    return Answer::kYes;
  }

  Request* receive(std::int32_t from, int tag, std::span<std::byte> to) override {
    if (to.size() > INT_MAX) return nullptr;
    auto request = std::make_unique<Request>();
    const std::lock_guard lock(mutex_);
    const int begun = MPI_Irecv(to.data(), static_cast<int>(to.size()), MPI_BYTE, from, tag, comm_, &request->request);
    return begun == MPI_SUCCESS ? request.release() : nullptr;
  }

  Answer test(Request* request) override {
    const std::lock_guard lock(mutex_);
    int done = 0;
    const bool failed = MPI_Test(&request->request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS;
    if (!failed && done == 0) return Answer::kNo;
    delete request;
    return failed ? Answer::kFailed : Answer::kYes;
  }

  void leave() override { MPI_Finalize(); }

 private:
  std::mutex mutex_;
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0, size_ = 1, of_host_ = 1;
};

MpiPort* join(std::string* error) {
  static Port* const port = new Port;  // for good: threads may ask it until the process ends
  return port->join(error) ? port : nullptr;
}

constexpr MpiModule kModule{kMpiModuleBuild, join};

}  // namespace
}  // namespace foregate

extern "C" __attribute__((visibility("default"))) const foregate::MpiModule* foregate_mpi_module() {
  return &foregate::kModule;
}
