#include "engine/runtime/draft_boot.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>

#include "engine/base/log.h"
#include "engine/io/file.h"
#include "engine/kv/block_pool.h"
#include "engine/model/cut_head.h"
#include "engine/model/fewer_experts.h"
#include "engine/model/model_source.h"
#include "engine/model/nextn.h"
#include "engine/runtime/memory_budget.h"
#include "engine/spec/model_drafter.h"
#include "engine/spec/mtp_drafter.h"
#include "engine/spec/ngram_drafter.h"
#include "engine/spec/spec_config.h"
#include "engine/spec/suffix_drafter.h"
#include "engine/spec/token_map.h"

namespace foregate {
namespace {

constexpr std::int32_t kDraftRows = 256;     // of one run of the draft model, more when the batch is wider
constexpr std::int32_t kDraftPage = 16;      // positions
constexpr std::int64_t kShareOfMemory = 16;  // its cache takes one part in so many of what is free

// Pages for max_num_seqs sequences of full length, fewer where memory is short, for one of them at least.
std::int64_t draft_pages(const BootOptions& options, std::int32_t positions, std::int64_t page_bytes) {
  const std::int64_t one = blocks_for(positions, kDraftPage);
  const std::int64_t wanted = one * options.max_num_seqs;
  const std::int64_t available = available_memory();
  if (available <= 0) return wanted;
  return std::clamp(available / kShareOfMemory / page_bytes, one, wanted);
}

// A draft changes no token, so a draft model has the fastest weights unless something else is asked for.
Result<WeightPlanOptions> draft_weights(const std::string& quantization, bool packed) {
  WeightPlanOptions plan;
  if (quantization == "none" || (quantization.empty() && packed)) return plan;
  plan.quantization = quantization_named(quantization.empty() ? "q8_0" : quantization);
  if (plan.quantization) return plan;
  return invalid_argument("--speculative-config: quantization must be none, q8_0, q4_0 or q4_k", "speculative_config");
}

// Leaves the head of `model`, opened at `path`, those tokens that are to be drafted. Gives them; none: it is whole.
Result<std::vector<Token>> choose_tokens(const SpecConfig& config, const std::string& path, Transformer& model) {
  const std::string beside = path + "/" + kTokenMapFile;
  if (config.token_map == "none") return std::vector<Token>();
  if (config.token_map.empty() && !local_files().exists(beside)) return std::vector<Token>();
  const std::string file = config.token_map.empty() ? beside : config.token_map;
  ASSIGN_OR_RETURN(std::vector<Token> tokens, read_token_map(local_files(), file, model.vocab_size()));
  const Status cut = cut_head(model, tokens, config.quantization != "none");
  if (!cut.ok() && config.token_map.empty()) {
    log_warn("draft model: " + file + " is not used: " + cut.message());
    return std::vector<Token>();
  }
  if (!cut.ok())
    return Status(cut.code(), "--speculative-config: speculative_token_map: " + cut.message(), "speculative_config");
  log_info("draft model: logits of " + std::to_string(tokens.size()) + " of " +
           std::to_string(model.config().vocab_size) + " tokens, by " + file);
  return tokens;
}

// A cache for what the model drafts, and the drafter.
Result<std::unique_ptr<Drafter>> make_drafter(const BootOptions& options, const DraftHost& host,
                                              std::unique_ptr<Transformer> model, std::int64_t weight_bytes,
                                              std::vector<Token> tokens = {}) {
  ModelDrafterOptions drafting;
  drafting.tokens = std::move(tokens);
  drafting.max_rows = std::max(kDraftRows, options.max_num_seqs);
  drafting.vocab_size = host.vocab_size;
  drafting.max_positions = std::min(model->config().max_positions, host.max_model_len);
  const KvLayout layout = model->kv_layout(options.kv_type.value_or(DType::kF16), kDraftPage);
  const std::int64_t pages = draft_pages(options, drafting.max_positions, layout.block_bytes());
  ASSIGN_OR_RETURN(KvCache cache, KvCache::create(host.device, layout, pages));
  char text[200];
  std::snprintf(text, sizeof text,
                "draft model: %.3f GB of weights, %.3f GB for keys and values of %lld tokens, %.3f GB to compute",
                static_cast<double>(weight_bytes) * 1e-9, static_cast<double>(pages * layout.block_bytes()) * 1e-9,
                static_cast<long long>(pages * kDraftPage), static_cast<double>(model->scratch_bytes()) * 1e-9);
  log_info(text);
  return std::unique_ptr<Drafter>(
      std::make_unique<ModelDrafter>(std::move(model), host.device, std::move(cache), drafting));
}

Result<std::unique_ptr<Drafter>> load_draft_model(const BootOptions& options, const DraftHost& host,
                                                  const SpecConfig& config) {
  ASSIGN_OR_RETURN(const OpenModel opened, open_model(local_files(), config.model));
  LoadOptions load;
  ASSIGN_OR_RETURN(load.weights, draft_weights(config.quantization, opened.index.packed() != nullptr));
  load.max_batched_tokens = std::max(kDraftRows, options.max_num_seqs);
  load.packing = host.packing;
  load.verify_weights = options.verify_weights;
  ASSIGN_OR_RETURN(std::unique_ptr<Transformer> model,
                   load_transformer(opened, host.device, host.ops, host.stream, load));
  if (model->vocab_size() > host.vocab_size) {
    return invalid_argument("--speculative-config: the draft model has " + std::to_string(model->vocab_size()) +
                                " token ids, the model " + std::to_string(host.vocab_size),
                            "speculative_config");
  }
  ASSIGN_OR_RETURN(std::vector<Token> tokens, choose_tokens(config, config.model, *model));
  const std::int64_t weight_bytes = model->weight_bytes();
  return make_drafter(options, host, std::move(model), weight_bytes, std::move(tokens));
}

// The weights are the target's, so they take nothing.
Result<std::unique_ptr<Drafter>> self_drafter(const BootOptions& options, const DraftHost& host,
                                              const SpecConfig& config) {
  ASSIGN_OR_RETURN(std::unique_ptr<Transformer> model,
                   with_fewer_experts(*host.target, config.num_experts, std::max(kDraftRows, options.max_num_seqs)));
  return make_drafter(options, host, std::move(model), 0);
}

// Places for max_num_seqs sequences, fewer where memory is short, one at least.
MtpShape mtp_shape(const BootOptions& options, const DraftHost& host, const Transformer& layer,
                   std::int64_t position_bytes) {
  MtpShape shape;
  const std::int32_t longest = std::min(layer.config().max_positions, host.max_model_len);
  shape.positions = static_cast<std::int32_t>(blocks_for(std::min(longest, shape.positions), kDraftPage)) * kDraftPage;
  shape.kept = std::min(shape.kept, std::max(shape.positions / 2, 1));
  shape.max_rows = std::max(kDraftRows, options.max_num_seqs);
  shape.hidden_size = layer.config().hidden_size;
  shape.vocab_size = host.vocab_size;
  shape.places = options.max_num_seqs;
  const std::int64_t one = shape.positions * position_bytes + shape.hidden_bytes();
  const std::int64_t available = available_memory();
  if (available > 0) {
    const std::int64_t fit = std::clamp<std::int64_t>(available / kShareOfMemory / one, 1, shape.places);
    shape.places = static_cast<std::int32_t>(fit);
  }
  return shape;
}

Result<std::unique_ptr<Drafter>> mtp_drafter(const BootOptions& options, const DraftHost& host,
                                             const SpecConfig& config) {
  const std::string& path = config.model.empty() ? options.model : config.model;
  ASSIGN_OR_RETURN(const OpenModel opened, open_model(local_files(), path));
  LoadOptions load;
  ASSIGN_OR_RETURN(load.weights, draft_weights(config.quantization, false));
  load.max_batched_tokens = std::max(kDraftRows, options.max_num_seqs);
  load.verify_weights = options.verify_weights;
  ASSIGN_OR_RETURN(std::unique_ptr<Transformer> layer, load_nextn(opened, *host.target, load));
  const KvLayout layout = layer->kv_layout(options.kv_type.value_or(DType::kF16), kDraftPage);
  MtpShape shape = mtp_shape(options, host, *layer, layout.block_bytes() / kDraftPage);
  if (shape.kept + config.num_speculative_tokens > shape.positions) {
    return invalid_argument("--speculative-config: num_speculative_tokens is too many for a context of " +
                                std::to_string(shape.positions) + " positions",
                            "speculative_config");
  }
  ASSIGN_OR_RETURN(shape.tokens, choose_tokens(config, path, *layer));
  const std::int64_t pages = std::int64_t{shape.places} * shape.positions / kDraftPage;
  ASSIGN_OR_RETURN(KvCache cache, KvCache::create(host.device, layout, pages));
  char text[240];
  std::snprintf(text, sizeof text,
                "NextN layer: %.3f GB of weights; for each of %d sequences %.3f MB of keys and values of %d tokens and "
                "%.3f MB of hidden states of %d; %.3f GB to compute",
                static_cast<double>(layer->weight_bytes()) * 1e-9, shape.places,
                static_cast<double>(layout.block_bytes() * shape.positions / kDraftPage) * 1e-6, shape.positions,
                static_cast<double>(shape.hidden_bytes()) * 1e-6, shape.kept,
                static_cast<double>(layer->scratch_bytes()) * 1e-9);
  log_info(text);
  return std::unique_ptr<Drafter>(std::make_unique<MtpDrafter>(std::move(layer), host.device, std::move(cache), shape));
}

}  // namespace

Status choose_drafter(const BootOptions& options, const DraftHost& host, SpeculationParts& parts, std::string& said) {
  said = "off";
  ASSIGN_OR_RETURN(const SpecConfig config, parse_spec_config(options.speculative_config));
  if (config.method == SpecMethod::kOff) return {};
  if (!config.tree.empty() && !host.device.host_visible()) {
    return invalid_argument("--speculative-config: speculative_token_tree must not branch with --device cuda",
                            "speculative_config");
  }
  parts.tree = config.tree;
  parts.num_speculative_tokens = config.num_speculative_tokens;
  parts.adaptive = config.adaptive;
  if (config.method == SpecMethod::kNgram) {
    parts.drafter = std::make_unique<NgramDrafter>(config.prompt_lookup_min, config.prompt_lookup_max);
  } else if (config.method == SpecMethod::kSuffix) {
    auto drafter = std::make_unique<SuffixDrafter>(config.suffix);
    log_info("suffix drafts: " + std::to_string(drafter->bytes() >> 20U) +
             " MiB for earlier answers, 20 to 40 bytes more for each token of a sequence that runs");
    parts.drafter = std::move(drafter);
  } else if (config.method == SpecMethod::kSelf) {
    ASSIGN_OR_RETURN(parts.drafter, self_drafter(options, host, config));
  } else if (config.method == SpecMethod::kMtp) {
    ASSIGN_OR_RETURN(parts.drafter, mtp_drafter(options, host, config));
  } else {
    ASSIGN_OR_RETURN(parts.drafter, load_draft_model(options, host, config));
  }
  const std::string tokens = std::to_string(config.num_speculative_tokens);
  const std::string shape = config.tree.empty() ? ", at most " + tokens + " tokens"
                                                : ", trees of at most " + std::to_string(config.tree.nodes.size()) +
                                                      " tokens, " + tokens + " after one another";
  said = spec_method_name(config.method) + shape + (config.adaptive ? ", fewer where that is faster" : "");
  log_info("speculation: " + said);
  return {};
}

}  // namespace foregate
