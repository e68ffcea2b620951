// The boundary of the MPI module: a shared library with one C function, loaded where mpirun or srun started this
// process, so that the program itself needs no MPI library. Nothing here blocks: a request is begun, and asked for.
// Calls may come from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace foregate {

class MpiPort {
 public:
  enum class Answer { kNo, kYes, kFailed };
  struct Request;  // of the module

  virtual ~MpiPort() = default;
  virtual std::int32_t rank() const = 0;
  virtual std::int32_t size() const = 0;
  virtual std::int32_t ranks_of_host() const = 0;  // those that share this one's memory, itself among them
  // The bytes must stay until test() says that the request is over. Null: refused.
  virtual Request* send(std::int32_t to, int tag, std::span<const std::byte> bytes) = 0;
  // The next message of this tag from a rank, and how long it is; it stays until receive().
  virtual Answer find(std::int32_t from, int tag, std::uint64_t& bytes) = 0;
  virtual Request* receive(std::int32_t from, int tag, std::span<std::byte> to) = 0;
  // kYes and kFailed end the request.
  virtual Answer test(Request* request) = 0;
  // MPI_Finalize: waits for all ranks, so for jobs of which all are alive. No call may follow.
  virtual void leave() = 0;
};

// Joins the job that this process was started in; lives until the process ends. Null with *error.
using MpiJoin = MpiPort* (*)(std::string* error);
struct MpiModule {
  const char* build;  // kMpiModuleBuild of the module
  MpiJoin join;
};
inline constexpr const char* kMpiModuleBuild = "foregate-mpi-1";
inline constexpr const char* kMpiModuleEntry = "foregate_mpi_module";
using MpiModuleEntry = const MpiModule* (*)();

}  // namespace foregate
