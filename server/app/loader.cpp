#include <algorithm>
#include <optional>
#include <utility>

#include "engine/base/log.h"
#include "engine/runtime/boot.h"
#include "server/app/app.h"

namespace foregate {
namespace {

Result<std::optional<DType>> kv_type(const std::string& word) {
  if (word == "auto") return std::optional<DType>();
  if (word == "f32") return std::optional(DType::kF32);
  if (word == "f16" || word == "float16") return std::optional(DType::kF16);
  if (word == "bf16" || word == "bfloat16") return std::optional(DType::kBF16);
  if (word == "int8") return std::optional(DType::kI8);
  return invalid_argument("--kv-cache-dtype: " + word + " is not known", "--kv-cache-dtype");
}

Result<BootOptions> boot_options(const ServeOptions& options, Metrics& metrics, const LoadProgress& progress) {
  BootOptions boot;
  boot.model = options.model;
  boot.model_name = options.served_model_name;
  boot.quantization = options.quantization;
  boot.verify_weights = options.verify_weights;
  boot.expert_memory = options.expert_memory;
  boot.elastic_bytes = options.elastic_memory;
  boot.expert_policy = options.expert_policy;
  boot.dense_memory = options.dense_memory;
  boot.expert_warm = options.expert_warm;
  boot.cost_calibration = options.cost_calibration;
  boot.lookahead = options.lookahead;
  boot.lookahead_correction = options.lookahead_correction;
  boot.lookahead_distance = static_cast<std::int32_t>(options.lookahead_distance);
  boot.prompt_read_ahead = options.prompt_read_ahead;
  boot.expert_sweep = options.expert_sweep;
  boot.speculative_config = options.speculative_config;
  boot.expert_parallel_size = static_cast<std::int32_t>(options.expert_parallel_size);
  boot.placement = options.placement;
  boot.rank_line = options.rank_line;
  boot.exchange = options.exchange;
  boot.exchange_overlap = options.exchange_overlap;
  boot.exchange_transport = options.exchange_transport;
  boot.nccl_library = options.nccl_library;
  boot.placement_interval_seconds = options.placement_interval;
  boot.placement_moves = static_cast<std::int32_t>(options.placement_moves);
  boot.placement_copies = static_cast<std::int32_t>(options.placement_copies);
  boot.trace_routes = options.trace_routes;
  boot.device = options.device;
  boot.cuda_module = options.cuda_module;
  boot.expert_device_memory = options.expert_device_memory;
  boot.gpu_memory_utilization = options.gpu_memory_utilization;
  boot.enforce_eager = options.enforce_eager;
  boot.cublaslt_rows = static_cast<std::int32_t>(options.cublaslt_rows);
  boot.device_sampling = options.device_sampling;
  boot.cpu_moe = options.cpu_moe;
  boot.n_cpu_moe = static_cast<std::int32_t>(options.n_cpu_moe);
  boot.expert_miss = options.expert_miss;
  boot.isa = options.isa;
  boot.threads = static_cast<int>(options.threads);
  boot.max_model_len = static_cast<std::int32_t>(options.max_model_len);
  boot.max_num_seqs = static_cast<std::int32_t>(options.max_num_seqs);
  boot.max_num_batched_tokens = static_cast<std::int32_t>(options.max_num_batched_tokens);
  boot.max_num_queued_reqs = static_cast<std::int32_t>(options.max_num_queued_reqs);
  boot.max_num_queued_tokens = options.max_num_queued_tokens;
  boot.max_client_share = static_cast<std::int32_t>(options.max_client_share);
  boot.scheduling_policy = options.scheduling_policy;
  boot.mlfq_quantum = static_cast<std::int32_t>(options.mlfq_quantum);
  boot.mlfq_promote_after = static_cast<std::int32_t>(options.mlfq_promote_after);
  boot.dlpm_quantum = options.dlpm_quantum;
  boot.expert_batch_delay = static_cast<std::int32_t>(options.expert_batch_delay);
  boot.target_itl_seconds = static_cast<double>(options.target_itl_ms) * 1e-3;
  boot.preemption_mode = options.preemption_mode;
  boot.swap_space_bytes = options.swap_space;
  boot.block_size = static_cast<std::int32_t>(options.block_size);
  boot.num_blocks = options.num_gpu_blocks_override;
  boot.kv_cache_bytes = options.kv_cache_memory_bytes;
  ASSIGN_OR_RETURN(boot.kv_type, kv_type(options.kv_cache_dtype));
  boot.prefix_caching = options.enable_prefix_caching;
  boot.free_window_blocks = options.free_window_blocks;
  boot.disable_hybrid_kv_cache_manager = options.disable_hybrid_kv_cache_manager;
  boot.seed = static_cast<std::uint64_t>(options.seed);
  boot.step_limit_seconds = options.health_stall_limit;
  boot.metrics = &metrics;
  boot.progress = progress;
  return boot;
}

std::vector<std::string> model_names(const ServeOptions& options, const BootReport& report) {
  std::vector<std::string> names = {report.model_name};
  if (options.served_model_name.empty() && options.model != names[0]) names.push_back(options.model);
  return names;
}

// A text of more bytes cannot become few enough tokens, whatever the normalizer drops.
std::size_t max_prompt_bytes(const Tokenizer& tokenizer, std::int32_t max_model_len) {
  std::size_t longest = 16;
  for (Token id = 0; id < tokenizer.vocab_size(); ++id) longest = std::max(longest, tokenizer.token_bytes(id).size());
  return 4 * longest * static_cast<std::size_t>(max_model_len);
}

Result<std::shared_ptr<const ChatTemplate>> own_template(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string source, read_text(local_files(), path, 1u << 20));
  auto compiled = compile_chat_template(source);
  if (!compiled.ok()) {
    return Status(compiled.status().code(), "--chat-template: " + path + ": " + compiled.status().message());
  }
  return std::shared_ptr<const ChatTemplate>(std::move(compiled).value());
}

// What grammars read: special tokens spell nothing.
grammar::Vocabulary vocabulary_of(const Tokenizer& tokenizer, const ModelInfo& model) {
  grammar::Vocabulary vocabulary;
  const Token ids = std::min(tokenizer.vocab_size(), model.vocab_size);
  for (Token id = 0; id < ids; ++id) {
    vocabulary.tokens.push_back(tokenizer.is_special(id) ? std::string() : tokenizer.token_bytes(id));
  }
  for (const Token id : model.eos_token_ids) {
    if (id < 0 || id >= ids) continue;
    vocabulary.end_ids.push_back(id);
    vocabulary.tokens[static_cast<std::size_t>(id)].clear();
  }
  return vocabulary;
}

// How the model's replies are read: as asked for, or as its chat template says.
void settle_replies(const ServeOptions& options, ServedModel& served) {
  ApiContext& context = served.context;
  const std::string_view source = served.chat_template ? served.chat_template->source() : std::string_view();
  if (!tool_format_of(options.tool_call_parser, context.tool_format)) context.tool_format = tool_format_in(source);
  if (!reasoning_format_of(options.reasoning_parser, context.reasoning_format)) {
    context.reasoning_format = reasoning_format_in(source);
  }
  context.auto_tool_choice = options.enable_auto_tool_choice;
}

void add_facts(const ServeOptions& options, const BootReport& report, Engine& engine, ServedModel& served) {
  const ModelInfo& model = engine.model();
  served.facts = {{"model", served.context.model_names[0]},
                  {"architecture", model.architecture},
                  {"parameters", std::to_string(model.parameters)},
                  {"active_parameters", std::to_string(model.active_parameters)},
                  {"device", report.device},
                  {"device_reason", report.device_reason},
                  {"weights", report.weights},
                  {"experts", report.experts},
                  {"expert_tiers", report.tiers},
                  {"speculation", report.speculation},
                  {"dense_weights", report.dense},
                  {"load_seconds", std::to_string(report.load_seconds)},
                  {"isa", report.isa},
                  {"isa_reason", report.backend_reason},
                  {"threads", std::to_string(report.threads)},
                  {"max_num_seqs", std::to_string(report.max_num_seqs)},
                  {"max_num_batched_tokens", std::to_string(report.max_num_batched_tokens)},
                  {"kv_cache_dtype", dtype_name(report.kv_type)},
                  {"kv_blocks", std::to_string(report.num_blocks)},
                  {"kv_block_bytes", std::to_string(report.block_bytes)},
                  {"kv_window_blocks", std::to_string(report.num_window_blocks)},
                  {"kv_cache_bytes", std::to_string(report.cache_bytes)},
                  {"tool_call_parser", tool_format_name(served.context.tool_format)},
                  {"reasoning_parser", reasoning_format_name(served.context.reasoning_format)},
                  {"scheduling_policy", options.scheduling_policy},
                  {"preemption_mode", options.preemption_mode}};
  for (const std::string& op : report.fallbacks) log_warn("op " + op + " runs on the reference kernels");
}

Result<std::shared_ptr<const ServedModel>> load(const std::shared_ptr<MpiJob>& job, const ServeOptions& options,
                                                Metrics& metrics, const LoadProgress& progress) {
  ASSIGN_OR_RETURN(BootOptions boot, boot_options(options, metrics, progress));
  boot.mpi_job = job;
  ASSIGN_OR_RETURN(std::unique_ptr<BootedEngine> made, boot_engine(boot));
  std::shared_ptr<BootedEngine> booted = std::move(made);
  auto served = std::make_shared<ServedModel>();
  served->owner = booted;
  served->engine = &booted->engine();
  served->experts = booted->expert_board();
  served->tokenizer = booted->tokenizer();
  served->chat_template = booted->chat_template();
  if (!options.chat_template.empty()) {
    ASSIGN_OR_RETURN(served->chat_template, own_template(options.chat_template));
  }
  served->model_root = options.model;
  served->max_num_seqs = booted->report().max_num_seqs;
  served->created = system_clock().wall_seconds();
  ApiContext& context = served->context;
  context.tokenizer = served->tokenizer.get();
  context.chat_template = served->chat_template.get();
  served->grammars = std::make_shared<GrammarCompiler>(vocabulary_of(*served->tokenizer, served->engine->model()));
  context.grammars = served->grammars.get();
  settle_replies(options, *served);
  context.bos_token = booted->bos_token();
  context.eos_token = booted->eos_token();
  context.model_names = model_names(options, booted->report());
  if (options.generation_config == "auto") context.defaults = booted->generation_defaults();
  context.limits = served->engine->limits();
  context.priorities = options.scheduling_policy == "priority";
  context.max_prompt_bytes = max_prompt_bytes(*served->tokenizer, context.limits.max_model_len);
  add_facts(options, booted->report(), *served->engine, *served);
  return std::shared_ptr<const ServedModel>(std::move(served));
}

}  // namespace

BackendLoader engine_loader(std::shared_ptr<MpiJob> job) {
  return [job = std::move(job)](const ServeOptions& options, Metrics& metrics, const LoadProgress& progress) {
    return load(job, options, metrics, progress);
  };
}

}  // namespace foregate
