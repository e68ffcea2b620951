// From a model on disk to a running engine: chooses the backend, loads the weights, sizes the KV
// cache and starts the engine thread. Called once by the program's main thread. boot.cpp is the
// only file of engine/ that sees kernels/registry.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/engine.h"
#include "engine/api/expert_board.h"
#include "engine/base/clock.h"
#include "engine/base/metrics.h"
#include "engine/base/status.h"
#include "engine/model/model.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "kernels/api/device.h"
#include "kernels/api/dtype.h"

namespace foregate {

class MpiJob;

struct BootOptions {
  std::string model;            // path of a Hugging Face or packed model directory, a GGUF file or a directory with one
  std::string model_name;       // label of the metrics; empty: from the path
  std::string device = "auto";  // cpu, cuda, or auto: cuda where the module and a GPU are
  std::string cuda_module;      // path of the module; empty: beside the program
  std::string isa = "auto";
  int threads = 0;                               // 0: one per physical core this process may use
  std::int32_t max_model_len = 0;                // tokens; 0: from config.json
  std::int32_t max_num_seqs = 32;                // sequences in one step; 0: as memory allows (step_sizes.h)
  std::int32_t max_num_batched_tokens = 512;     // rows of one step; 0: likewise
  std::int32_t max_num_queued_reqs = 256;        // sequences that may wait beyond max_num_seqs
  std::int64_t max_num_queued_tokens = 0;        // prompt tokens of sequences that have not run yet; 0: no bound
  std::int32_t max_client_share = 100;           // percent of all places that one client may hold
  std::string scheduling_policy = "fcfs";        // as policy_named() takes it
  std::int32_t mlfq_quantum = 64;                // tokens of the top level of mlfq
  std::int32_t mlfq_promote_after = 1024;        // steps without a row until promotion
  std::int64_t dlpm_quantum = 2048;              // work that a client gets at a time under dlpm
  std::int32_t expert_batch_delay = 0;           // steps that a sequence may be held back for its experts; 0: never
  double target_itl_seconds = 0.0;               // of steps with decode rows; 0: no target
  std::string preemption_mode = "recompute";     // recompute, swap, auto
  std::int64_t swap_space_bytes = 1 << 30;       // host memory for blocks of preempted sequences
  std::int32_t block_size = 16;                  // positions in one KV block
  std::int64_t num_blocks = 0;                   // 0: from kv_cache_bytes
  std::int64_t kv_cache_bytes = 0;               // 0: enough for max_num_seqs, within available memory
  bool prefix_caching = true;                    // blocks that were computed serve later prompts that start the same
  bool free_window_blocks = true;                // blocks that no layer's window reaches any more are given up
  bool disable_hybrid_kv_cache_manager = false;  // layers with a window share the blocks of the others
  std::string quantization = "none";             // none, or a word of quantization_named()
  bool verify_weights = true;                    // compare the checksums of a packed model while it is read
  std::int64_t elastic_bytes = 0;                // that KV blocks and experts share; 0: each has its own memory
  std::string expert_memory = "all";             // memory for experts: as parse_expert_memory() takes it
  std::string expert_device_memory = "auto";     // of a GPU, for experts: words of expert_memory
  double gpu_memory_utilization = 0.9;           // of its memory, for weights, experts and KV cache together
  bool cpu_moe = false;                          // all experts are computed on the CPU
  std::int32_t n_cpu_moe = 0;                    // those of so many layers, the first ones that have experts
  std::string expert_miss = "fetch";             // as miss_rule_named() takes it
  std::int32_t cublaslt_rows = 0;                // dense products of so many rows and more by cuBLASLt; 0: none
  bool enforce_eager = false;                    // every kernel is launched by itself
  bool device_sampling = true;                   // tokens are chosen on the GPU where nobody needs the logits
  std::string dense_memory = "all";             // memory for dense weights of layers: as choose_dense_memory() takes it
  std::string expert_policy = "auto";           // which of them stay: a name of make_eviction_policy()
  bool expert_warm = true;                      // fill their memory at boot, by the counters that the last run left
  std::string lookahead = "auto";               // off, shadow, auto, always: loads of experts ahead of their layer
  std::int32_t lookahead_distance = 1;          // layers ahead, 1 to 3
  bool prompt_read_ahead = true;                // of prompts: experts of the next layer while one runs
  bool expert_sweep = true;                     // the same of decode steps that use more than memory holds
  bool lookahead_correction = true;             // guess from the residual stream as it moves on average until then
  bool cost_calibration = true;                 // measure what loads and kernels of experts cost, once a model
  std::int32_t expert_parallel_size = 1;        // ranks that share the experts
  std::string placement = "linear";             // which rank has which: linear, round-robin, auto or a plan file
  double placement_interval_seconds = 30.0;     // auto: between plans
  std::int32_t placement_moves = 32;            // auto: experts that move with one plan, at most
  std::int32_t placement_copies = 0;            // auto: further experts that each rank may have of each layer
  std::string rank_line = "auto";               // to ranks that this process starts: auto, shared-memory or socket
  std::string exchange = "two-all-to-alls";     // of ranks: a word of exchange_mode_named()
  std::string exchange_overlap = "off";         // likewise: a word of overlap_mode_named()
  std::string exchange_transport = "auto";      // of ranks with a GPU: a word of exchange_transport_named()
  std::string nccl_library;                     // path; empty: libnccl.so.2 where the system has it
  std::string rank_program = "/proc/self/exe";  // what a rank is started from, as `... rank`
  std::shared_ptr<MpiJob> mpi_job;              // whose rank 0 this is: the others are its ranks; null: no such job
  std::string trace_routes;                     // file that gets what every MoE layer routes to; empty: none
  std::string speculative_config;               // JSON as parse_spec_config() takes it; empty: plain decoding
  std::optional<DType> kv_type;                 // f32, f16, bf16 or int8; none: ModelSummary::kv_type
  std::uint64_t seed = 0;                       // start of the seeds of requests that bring none
  double step_limit_seconds = 60.0;             // a longer step makes healthy() false
  Metrics* metrics = nullptr;                   // may be null; must outlive the engine
  const Clock* clock = nullptr;                 // null: system_clock()
  // Called on the booting thread with a stage ("weights", "tokenizer", "kv cache", "ready") and
  // the part of that stage done, 0..1. May be empty.
  std::function<void(std::string_view stage, double fraction)> progress;
};

// What was decided at boot, for the log, the status page and `foregate inspect`.
struct BootReport {
  std::string model_name;  // as asked for, or the last part of the path
  std::string isa;
  int threads = 1;
  std::string device;                       // Device::describe()
  std::string device_reason;                // why this one
  DType kv_type = DType::kF32;              // of the KV cache
  std::string backend_reason;               // why this backend was chosen
  std::vector<std::string> fallbacks;       // ops taken from kernels/ref
  std::int32_t max_num_seqs = 0;            // as asked for, or as memory allows
  std::int32_t max_num_batched_tokens = 0;  // likewise
  std::int64_t num_blocks = 0;              // where all layers have a window, of those
  std::int64_t num_window_blocks = 0;       // beside them for layers with a window; 0: there are none, or no others
  std::int64_t block_bytes = 0;             // of one of num_blocks
  std::int64_t cache_bytes = 0;             // of all
  std::int64_t available_bytes = 0;         // memory this process could still take before the KV cache
  double load_seconds = 0.0;
  std::string weights;      // how they were loaded
  std::string dense;        // where the dense weights of layers are
  std::string experts;      // where they are
  std::string tiers;        // those on a GPU in front of them
  std::string speculation;  // what drafts, and how much
};

// A model in memory without an engine: what benchmarks and inspection use. Owns backend and model.
class BootedModel {
 public:
  virtual ~BootedModel() = default;
  virtual Model& model() = 0;  // one thread at a time
  virtual Device& device() = 0;
  virtual const ModelInfo& info() const = 0;
  virtual const BootReport& report() const = 0;
};

// Everything a front end needs. Owns backend, model, KV cache and engine; destruction ends every
// request that is still live.
class BootedEngine {
 public:
  virtual ~BootedEngine() = default;
  virtual Engine& engine() = 0;
  virtual std::shared_ptr<const Tokenizer> tokenizer() const = 0;
  virtual std::shared_ptr<const ChatTemplate> chat_template() const = 0;  // null when the model has none
  virtual const std::string& bos_token() const = 0;                       // text of the token; may be empty
  virtual const std::string& eos_token() const = 0;
  virtual const GenerationDefaults& generation_defaults() const = 0;
  virtual const BootReport& report() const = 0;
  virtual std::shared_ptr<ExpertBoard> expert_board() const = 0;  // where each expert is
  // The model itself and its device: safe to use only while the engine is idle.
  virtual Model& model() = 0;
  virtual Device& device() = 0;
};

// kNotFound, kInvalidArgument, kDataLoss or kUnimplemented when the model cannot be served as it is,
// naming file and tensor or field; kResourceExhausted, with the numbers, when memory is short.
Result<std::unique_ptr<BootedModel>> boot_model(const BootOptions& options);
Result<std::unique_ptr<BootedEngine>> boot_engine(const BootOptions& options);

}  // namespace foregate
