// The one place that names every backend: list them, choose one, force one, report what was chosen.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/api/op_table.h"
#include "kernels/api/page_source.h"

namespace foregate {

struct BackendChoice {
  std::string isa = "auto";  // auto | ref | generic | avx2 | avxvnni | avx512
  int threads = 0;           // 0: one per physical core this process may use (affinity and cgroup quota)
};

// A device with its complete table. `fallbacks` names ops taken from ref; `reason` says in one line
// what was chosen and why, for the log and the status page.
struct Backend {
  std::unique_ptr<Device> device;
  OpTable ops;
  std::vector<std::string> fallbacks;
  std::string isa;
  int threads = 1;
  int cores = 1;  // that this process may use
  std::string reason;
};

// ISA names this machine can run, best first ("avx512", "avxvnni", "avx2", "generic", "ref").
std::vector<std::string> runnable_isas();

// On failure returns an empty `device` and sets *error (unknown name, or not runnable here).
Backend make_backend(const BackendChoice& choice, std::string* error);

// Pages of the host's memory.
std::unique_ptr<PageSource> make_host_pages();

}  // namespace foregate
