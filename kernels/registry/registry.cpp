#include "kernels/registry/registry.h"

#include <algorithm>

#include "kernels/cpu/cores.h"
#include "kernels/cpu/cpu_device.h"
#include "kernels/cpu/host_pages.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/tables.h"
#include "kernels/ref/ref_table.h"

namespace foregate {
namespace {

struct NamedTable {
  const char* isa;
  const OpTable& (*table)();
};

// Every table of this build, best first.
const std::vector<NamedTable>& all_tables() {
  static const std::vector<NamedTable> tables = {
#if defined(__x86_64__)
    {"avx512", cpu_avx512_table},
    {"avxvnni", cpu_avxvnni_table},
    {"avx2", cpu_avx2_table},
#endif
    {"generic", cpu_generic_table},
    {"ref", ref_table},
  };
  return tables;
}

bool runnable(const std::string& isa, const CpuFeatures& features) {
  if (isa == "avx512") return features.avx512;
  if (isa == "avxvnni") return features.avxvnni;
  if (isa == "avx2") return features.avx2;
  return true;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// Fills the empty slots of `table` from ref and names them.
std::vector<std::string> fill_from_ref(OpTable& table) {
  std::vector<std::string> filled;
  const OpTable& ref = ref_table();
  const auto fill = [&](auto OpTable::*slot, const char* name) {
    if (table.*slot != nullptr) return;
    table.*slot = ref.*slot;
    filled.push_back(name);
  };
  fill(&OpTable::embed, "embed");
  fill(&OpTable::rms_norm, "rms_norm");
  fill(&OpTable::head_norm, "head_norm");
  fill(&OpTable::linear, "linear");
  fill(&OpTable::add, "add");
  fill(&OpTable::sigmoid_gate_add, "sigmoid_gate_add");
  fill(&OpTable::gather_rows, "gather_rows");
  fill(&OpTable::rope, "rope");
  fill(&OpTable::kv_write, "kv_write");
  fill(&OpTable::attention, "attention");
  fill(&OpTable::router_topk, "router_topk");
  fill(&OpTable::expert_ffn, "expert_ffn");
  fill(&OpTable::moe_combine, "moe_combine");
  fill(&OpTable::pack_weight, "pack_weight");
  return filled;
}

}  // namespace

std::vector<std::string> runnable_isas() {
  const CpuFeatures features = detect_cpu_features();
  std::vector<std::string> names;
  for (const NamedTable& entry : all_tables()) {
    if (runnable(entry.isa, features)) names.emplace_back(entry.isa);
  }
  return names;
}

Backend make_backend(const BackendChoice& choice, std::string* error) {
  Backend backend;
  const std::vector<std::string> isas = runnable_isas();
  const bool automatic = choice.isa.empty() || choice.isa == "auto";
  backend.isa = automatic ? isas.front() : choice.isa;
  if (std::find(isas.begin(), isas.end(), backend.isa) == isas.end()) {
    const auto& tables = all_tables();
    const bool known = std::any_of(tables.begin(), tables.end(), [&](const auto& t) { return t.isa == backend.isa; });
    *error = "isa '" + backend.isa + (known ? "' cannot run on this machine" : "' is not known") +
             "; runnable here: auto, " + joined(isas);
    return backend;
  }
  constexpr int kMostThreads = 1024;
  if (choice.threads < 0 || choice.threads > kMostThreads) {
    *error = "threads must be 0 (one per physical core) to " + std::to_string(kMostThreads) + ", not " +
             std::to_string(choice.threads);
    return backend;
  }
  const CoreCount cores = count_cores();
  backend.cores = usable_cores(cores);
  backend.threads = choice.threads > 0 ? choice.threads : backend.cores;
  for (const NamedTable& entry : all_tables()) {
    if (entry.isa == backend.isa) backend.ops = entry.table();
  }
  backend.fallbacks = fill_from_ref(backend.ops);
  backend.device = std::make_unique<CpuDevice>(backend.isa, backend.threads);
  backend.reason = backend.isa + (automatic ? " is the best of " + joined(isas) : " was asked for") + "; " +
                   std::to_string(backend.threads) + (backend.threads == 1 ? " thread" : " threads") +
                   (choice.threads > 0 ? " asked for (" : " (") + describe_cores(cores) + ")";
  if (!backend.fallbacks.empty()) backend.reason += "; from ref: " + joined(backend.fallbacks);
  return backend;
}

std::unique_ptr<PageSource> make_host_pages() {
  return std::make_unique<HostPages>();
}

}  // namespace foregate
