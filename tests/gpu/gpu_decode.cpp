// Tokens per second of one sequence on a CUDA module, side by side: all experts on the GPU as graphs and kernel by
// kernel, a quarter and a half of them there with the others fetched, computed on the CPU, or split by what was
// measured, and a model whose routes are known a layer ahead with and without copies ahead. JSON, one line a way.
//
//   gpu_decode [--module PATH] [--tokens N] [--model DIR] [--ahead DIR]
//
// --model: any model with experts (default models/demo); --ahead: one with routes known ahead (models/demo-pregated).
// They are packed into a temporary directory first, so that costs are measured as in serving.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "engine/io/output.h"
#include "engine/model/pack_model.h"
#include "kernels/registry/gpu.h"
#include "tests/engine/model/driver.h"

namespace foregate {
namespace {

struct DecodeOptions {
  std::string module;
  std::string model = demo_dir();
  std::string ahead = demo_dir() + "-pregated";
  std::size_t tokens = 256;
};

struct Way {
  std::string name;
  double share = 1.0;  // of the experts on the GPU
  bool tiers = false;
  MissRule rule = MissRule::kFetch;
  bool all_on_host = false;
  bool eager = false;
  LookaheadMode lookahead = LookaheadMode::kAuto;
};

// The directory of a packed copy; empty when it cannot be made.
std::string packed_copy(const std::string& model) {
  const std::string dir = std::filesystem::temp_directory_path() / ("foregate_gpu_decode_" + model_name(model));
  std::filesystem::remove_all(dir);
  std::string error;
  const Backend made = make_backend({.isa = "auto"}, &error);
  const auto stream = made.device->create_stream();
  auto plan = plan_pack(local_files(), model, {});
  auto out = open_output_directory(dir);
  if (!plan.ok() || !out.ok()) return "";
  return run_pack(plan.value(), local_files(), **out, made.ops, *stream, {}).ok() ? dir : "";
}

std::uint64_t all_expert_bytes(const DecodeOptions& options, const std::string& dir) {
  DriverOptions on_gpu;
  on_gpu.isa = "auto";
  on_gpu.cuda_module = options.module;
  on_gpu.experts = ExpertLoading{.store = {.budget_bytes = UINT64_MAX}, .warm = false};
  on_gpu.experts->tier = DeviceTierOptions{.budget_bytes = UINT64_MAX};
  return Driver(dir, on_gpu).model().store()->table().bytes();
}

DriverOptions driver_options(const DecodeOptions& options, const Way& way, std::uint64_t all, const std::string& dir) {
  DriverOptions driver;
  driver.isa = "auto";
  driver.threads = 0;
  driver.cuda_module = options.module;
  driver.eager = way.eager;
  driver.lookahead.mode = way.lookahead;
  driver.blocks = static_cast<std::int32_t>(options.tokens / 16 + 4);
  if (!way.tiers) return driver;
  ExpertLoading& loading = driver.experts.emplace();
  loading.store.budget_bytes = UINT64_MAX;
  loading.costs = CostLoading{.machine = "gpu_decode"};
  loading.counters_dir = dir;
  DeviceTierOptions& tier = loading.tier.emplace();
  tier.budget_bytes = static_cast<std::uint64_t>(way.share * static_cast<double>(all));
  tier.misses = way.rule;
  tier.host_layers = way.all_on_host ? 1 << 20 : 0;
  return driver;
}

double tokens_per_second(Driver& driver, std::size_t count) {
  const std::vector<Token> prompt = {5, 9, 11, 40, 3, 17, 29};
  greedy_tokens(driver, prompt, count / 4 + 1);  // what is used most has come
  const auto start = std::chrono::steady_clock::now();
  greedy_tokens(driver, prompt, count);
  return static_cast<double>(count) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void measure(const DecodeOptions& options, const std::string& dir, const Way& way, std::uint64_t all, bool first) {
  Driver driver(dir, driver_options(options, way, all, dir));
  const double speed = tokens_per_second(driver, options.tokens);
  const TierFigures tier = driver.model().tier_figures().value_or(TierFigures{});
  std::printf(
      "%s\n    {\"way\": \"%s\", \"tokens_per_s\": %.2f, \"hits\": %llu, \"misses\": %llu, \"fetched_mb\": %.2f, "
      "\"host_computed\": %llu, \"ahead_useful\": %llu, \"graphs\": %llu, \"link_gb_per_s\": %.2f}",
      first ? "" : ",", way.name.c_str(), speed, static_cast<unsigned long long>(tier.hits),
      static_cast<unsigned long long>(tier.misses), static_cast<double>(tier.fetched_bytes) * 1e-6,
      static_cast<unsigned long long>(tier.host_computed), static_cast<unsigned long long>(tier.ahead_useful),
      static_cast<unsigned long long>(driver.model().collected_steps()), tier.link_bytes_per_second * 1e-9);
  std::fflush(stdout);
}

int run(const DecodeOptions& options) {
  std::string error;
  if (make_gpu_backend({.module = options.module}, &error).device == nullptr) {
    std::fprintf(stderr, "gpu_decode: %s\n", error.c_str());
    return 2;
  }
  const std::string model = packed_copy(options.model);
  const std::string ahead = packed_copy(options.ahead);
  if (model.empty() || ahead.empty()) return 1;
  const std::uint64_t all = all_expert_bytes(options, model);
  std::printf("{\n  \"model\": \"%s\",\n  \"tokens\": %zu,\n  \"ways\": [", model_name(options.model).c_str(),
              options.tokens);
  std::vector<Way> ways = {{.name = "all on the GPU"}, {.name = "all on the GPU, no graphs", .eager = true}};
  for (const double share : {0.25, 0.5}) {
    const std::string part = share == 0.25 ? "25 %" : "50 %";
    ways.push_back({.name = part + " on the GPU, fetch", .share = share, .tiers = true});
    ways.push_back({.name = part + " on the GPU, cpu", .share = share, .tiers = true, .rule = MissRule::kCompute});
    ways.push_back({.name = part + " on the GPU, split", .share = share, .tiers = true, .rule = MissRule::kAuto});
  }
  ways.push_back({.name = "experts on the CPU", .tiers = true, .rule = MissRule::kCompute, .all_on_host = true});
  for (const Way& way : ways) measure(options, model, way, all, &way == &ways.front());
  const std::uint64_t all_ahead = all_expert_bytes(options, ahead);
  for (const LookaheadMode mode : {LookaheadMode::kAuto, LookaheadMode::kOff}) {
    const bool on = mode == LookaheadMode::kAuto;
    measure(options, ahead,
            {.name = std::string("routes known ahead, 50 %, copies ahead ") + (on ? "on" : "off"),
             .share = 0.5,
             .tiers = true,
             .lookahead = mode},
            all_ahead, false);
  }
  std::printf("\n  ]\n}\n");
  return 0;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  foregate::DecodeOptions options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--module") == 0) options.module = argv[i + 1];
    if (std::strcmp(argv[i], "--model") == 0) options.model = argv[i + 1];
    if (std::strcmp(argv[i], "--ahead") == 0) options.ahead = argv[i + 1];
    if (std::strcmp(argv[i], "--tokens") == 0) options.tokens = static_cast<std::size_t>(std::atol(argv[i + 1]));
  }
  return foregate::run(options);
}
