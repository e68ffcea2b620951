// foregate scale: how long decode steps would take on many GPUs that share the experts of a known model, by
// engine/placement/scale.h; --check: how far that model is from what ranks take on this machine.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "tools/foregate/commands.h"
#include "tools/foregate/scale_check.h"

namespace foregate {
namespace {

struct KnownModel {
  const char* name;
  ScaleModel model;
};

// From config.json of the models on Hugging Face. Of DeepSeek-V3 weights of one byte, but for the head; latent
// attention as matrices of its own, the shared expert with the layer.
std::vector<KnownModel> known_models() {
  constexpr double kMla = 7168.0 * 1536 + 1536.0 * 24576 + 7168.0 * 576 + 512.0 * 32768 + 16384.0 * 7168;
  const ScaleModel qwen{.sparse_layers = 48,
                        .hidden = 2048,
                        .experts = 128,
                        .top_k = 8,
                        .expert_bytes = 2 * 3.0 * 2048 * 768,
                        .layer_bytes = 2 * (2 * 2048.0 * 4096 + 2 * 2048.0 * 512 + 2048.0 * 128),
                        .head_bytes = 2 * 151936.0 * 2048,
                        .context_bytes = 48 * 2 * 512 * 2.0};
  const ScaleModel deepseek{.sparse_layers = 58,
                            .dense_layers = 3,
                            .hidden = 7168,
                            .experts = 256,
                            .top_k = 8,
                            .expert_bytes = 3.0 * 7168 * 2048,
                            .layer_bytes = kMla + 3.0 * 7168 * 2048 + 7168.0 * 256,
                            .dense_layer_bytes = kMla + 3.0 * 7168 * 18432,
                            .head_bytes = 2 * 129280.0 * 7168,
                            .weight_bytes_per_value = 1,
                            .context_bytes = 61 * 576 * 2.0};
  return {{"qwen3-30b-a3b", qwen}, {"deepseek-v3", deepseek}};
}

struct ScaleOptions {
  std::string shape = "qwen3-30b-a3b";
  std::vector<std::int32_t> ranks = {8, 16, 32, 64};
  std::vector<std::int32_t> rows = {64, 256, 1024};
  ScaleRank rank{.bytes_per_second = 3.35e12, .flops_per_second = 989e12, .layer_seconds = 1e-5};
  ScaleFabric fabric{.near = {1e-5, 450e9}, .far = {2e-5, 50e9}};
  ScaleStep step{.context = 1024};
  ScaleCheckOptions check;
};

void add_options(CLI::App& app, ScaleOptions& options) {
  app.add_option("--shape", options.shape, "qwen3-30b-a3b or deepseek-v3")
      ->check(CLI::IsMember({"qwen3-30b-a3b", "deepseek-v3"}));
  app.add_option("--ranks", options.ranks, "GPUs, a list")->delimiter(',')->check(CLI::Range(1, 1024));
  app.add_option("--rows", options.rows, "sequences that decode, of all GPUs together, a list")
      ->delimiter(',')
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--context", options.step.context, "positions of each")->check(CLI::NonNegativeNumber);
  app.add_option("--imbalance", options.step.imbalance, "rows of the most loaded GPU over the mean")
      ->check(CLI::Range(1.0, 1024.0));
  app.add_option("--distinct", options.step.distinct, "GPUs that a row's experts of a layer are on; 0: chosen evenly")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--memory-bandwidth", options.rank.bytes_per_second, "of a GPU, bytes per second")
      ->check(CLI::PositiveNumber);
  app.add_option("--flops", options.rank.flops_per_second, "of a GPU, per second")->check(CLI::PositiveNumber);
  app.add_option("--layer-seconds", options.rank.layer_seconds, "of a block beside its bytes: launches, norms")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--node", options.fabric.ranks_per_node, "GPUs of a node")->check(CLI::Range(1, 1024));
  app.add_option("--near-alpha", options.fabric.near.alpha, "seconds of a message within a node")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--near-bandwidth", options.fabric.near.bytes_per_second, "bytes per second of a GPU within a node")
      ->check(CLI::PositiveNumber);
  app.add_option("--far-alpha", options.fabric.far.alpha, "seconds of a message between nodes")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--far-bandwidth", options.fabric.far.bytes_per_second, "bytes per second of a GPU between nodes")
      ->check(CLI::PositiveNumber);
  app.add_option("--check", options.check.model,
                 "measure this model on 1 to --check-ranks ranks of this machine instead");
  app.add_option("--check-ranks", options.check.ranks, "most ranks of --check")->check(CLI::Range(2, 16));
  app.add_option("--check-rounds", options.check.rounds, "of each measurement of --check")->check(CLI::Range(1, 1000));
  app.add_option("--check-tokens", options.check.tokens, "steps of a round of --check")->check(CLI::Range(1, 10000));
}

void predict(const ScaleOptions& options) {
  ScaleModel model;
  for (const KnownModel& known : known_models()) {
    if (options.shape == known.name) model = known.model;
  }
  std::printf("%s, %.0f positions each; figures of the GPU and its links as given, none of them measured here\n\n",
              options.shape.c_str(), options.step.context);
  std::printf(
      "| GPUs | rows | step ms | dense | experts | exchange | tokens/s | per GPU |\n"
      "|---:|---:|---:|---:|---:|---:|---:|---:|\n");
  for (const std::int32_t ranks : options.ranks) {
    for (const std::int32_t rows : options.rows) {
      ScaleFabric fabric = options.fabric;
      ScaleStep step = options.step;
      fabric.ranks = ranks;
      step.rows = rows;
      const StepTimes times = step_times(model, options.rank, fabric, step);
      const double rate = rows / times.step();
      std::printf("| %d | %d | %.2f | %.2f | %.2f | %.2f | %.0f | %.0f |\n", ranks, rows, 1e3 * times.step(),
                  1e3 * times.dense, 1e3 * times.experts, 1e3 * times.exchange, rate, rate / ranks);
    }
  }
}

Status check(const ScaleOptions& options) {
  ASSIGN_OR_RETURN(const ScaleCheck checked, check_scale(options.check));
  const StarRanks& star = checked.pieces;
  std::printf(
      "measured alone: an expert %.2f us, each further row of it %.2f us; a message %.2f us, %.2f us of them the "
      "sender's, and %.2f GB/s; %d cores\nby steps of two ranks: each rank asked %.2f us more, each output %.2f us\n\n",
      1e6 * star.expert_seconds, 1e6 * star.expert_row_seconds, 1e6 * star.link.alpha, 1e6 * star.send_seconds,
      1e-9 * star.link.bytes_per_second, star.cores, 1e6 * star.ask_seconds, 1e6 * star.output_seconds);
  std::printf("| ranks | rows | step us | predicted us | of it dense | experts | exchange | error |\n");
  std::printf("|---:|---:|---:|---:|---:|---:|---:|---:|\n");
  for (const ScaleChecked& step : checked.steps) {
    std::printf("| %d | %d | %.0f | %.0f | %.0f | %.0f | %.0f |", step.ranks, step.rows, 1e6 * step.measured,
                1e6 * step.predicted, 1e6 * step.parts.dense, 1e6 * step.parts.experts, 1e6 * step.parts.exchange);
    if (step.calibrates) {
      std::printf(" calibrates |\n");
    } else {
      std::printf(" %+.1f %% |\n", 100 * (step.predicted / step.measured - 1));
    }
  }
  std::printf("\nmedian error %.1f %%, median of %d rounds each\n", 100 * checked.median_error(), options.check.rounds);
  return {};
}

}  // namespace

int scale_command(int argc, char** argv) {
  CLI::App app("Decode steps on many GPUs that share experts, predicted", "foregate scale");
  ScaleOptions options;
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  if (options.check.model.empty()) {
    predict(options);
    return 0;
  }
  if (app.count("--rows") > 0) options.check.rows = options.rows;
  const Status status = check(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "foregate scale: %s\n", status.to_string().c_str());
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}

}  // namespace foregate
