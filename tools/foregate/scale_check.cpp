#include "tools/foregate/scale_check.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <thread>

#include "engine/io/file.h"
#include "engine/model/rank_experts.h"
#include "engine/runtime/boot.h"
#include "kernels/registry/registry.h"
#include "tools/bench/bench_run.h"

namespace foregate {
namespace {

constexpr int kRounds = 7;
constexpr std::int32_t kTokens = 200;  // of a round
constexpr std::int32_t kMostRows = 64;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

double now_seconds() {
  return static_cast<double>(system_clock().now()) * 1e-9;
}

// Of one decode step of so many sequences.
Result<double> measure_step(const std::string& path, std::int32_t ranks, std::int32_t rows) {
  BootOptions boot;
  boot.model = path;
  boot.device = "cpu";
  boot.threads = 1;
  boot.max_num_batched_tokens = kMostRows;
  boot.expert_parallel_size = ranks;
  ASSIGN_OR_RETURN(const auto model, boot_model(boot));
  const BenchTest test{.prompt_tokens = 0, .generated_tokens = kTokens, .batch = rows, .chunk_tokens = kMostRows};
  ASSIGN_OR_RETURN(BenchRun run, BenchRun::create(model->model(), model->device(), test));
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    RETURN_IF_ERROR(run.prepare(0, round == 0));
    ASSIGN_OR_RETURN(const BenchSample sample, run.repeat(0));
    seconds.push_back(sample.seconds / kTokens);
  }
  return median(seconds);
}

// Of a message of `bytes` and one back, over sockets and threads as ranks use them.
Result<double> round_trip(std::size_t bytes) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return unavailable("no socket pair");
  const auto near = socket_line(fds[0]), far = socket_line(fds[1]);
  constexpr int kTrips = 500;
  std::thread other([&far, bytes] {
    for (int i = 0; i < kTrips; ++i) {
      const auto asked = far->receive({.most_bytes = bytes}, kNoDeadline);
      if (!asked.ok() || !far->send(MessageKind::kOutputs, asked->epoch, asked->body, kNoDeadline).ok()) return;
    }
  });
  const std::vector<std::byte> body(bytes);
  std::vector<double> seconds;
  Status failed;
  for (int i = 0; i < kTrips && failed.ok(); ++i) {
    const double start = now_seconds();
    failed = near->send(MessageKind::kRows, 1, body, kNoDeadline);
    if (failed.ok()) failed = near->receive({.most_bytes = bytes}, kNoDeadline).status();
    seconds.push_back(now_seconds() - start);
  }
  near->close();
  other.join();
  RETURN_IF_ERROR(failed);
  return median(seconds);
}

// Seconds in which a rank answers rows of so many experts, `rows` of each.
Result<double> answer_seconds(RankExperts& rank, const ModelConfig& config, LayerId layer, std::int32_t experts,
                              std::int32_t rows) {
  const std::int32_t top_k = config.router.top_k;
  ExpertRows asked{.layer = layer, .rows = (experts * rows + top_k - 1) / top_k};
  for (std::int32_t e = 0; e < experts; ++e) {
    asked.experts.push_back(e);
    asked.group_rows.push_back(rows);
    for (std::int32_t r = 0; r < rows; ++r) asked.x_rows.push_back((e * rows + r) / top_k);
  }
  std::vector<std::byte> body;
  const auto values = write_rows(asked, config.hidden_size, body);
  std::vector<float> ones(values.size() / sizeof(float), 0.01f);
  std::memcpy(values.data(), ones.data(), values.size());
  auto [near, far] = memory_line();
  std::thread serving([&rank, line = far.get()] { (void)rank.serve(*line); });
  std::vector<double> seconds;
  Status failed;
  for (std::uint64_t i = 1; i <= 300 && failed.ok(); ++i) {
    const double start = now_seconds();
    failed = near->send(MessageKind::kRows, i, body, kNoDeadline);
    if (failed.ok()) failed = near->receive({.most_bytes = std::uint64_t{1} << 30}, kNoDeadline).status();
    seconds.push_back(now_seconds() - start);
  }
  near->close();
  serving.join();
  RETURN_IF_ERROR(failed);
  return median(seconds);
}

// The slope over experts, and over rows, so that what a message takes falls out.
Status measure_expert(const std::string& path, StarRanks& pieces) {
  std::string error;
  const Backend backend = make_backend({.threads = 1}, &error);
  if (backend.device == nullptr) return unavailable(error);
  const auto stream = backend.device->create_stream();
  ASSIGN_OR_RETURN(const OpenModel model, open_model(local_files(), path));
  std::vector<std::int32_t> experts;
  LayerId layer{-1};
  for (const LayerConfig& each : model.config.layers) {
    if (each.sparse) layer = LayerId{static_cast<std::int32_t>(experts.size())};
    pieces.layers += each.sparse ? 1 : 0;
    experts.push_back(each.sparse ? model.config.router.experts : 0);
  }
  if (layer.value < 0) return invalid_argument("the model has no experts to share", "model");
  pieces.experts = model.config.router.experts;
  pieces.top_k = model.config.router.top_k;
  pieces.row_bytes = static_cast<double>(model.config.hidden_size) * sizeof(float);
  ASSIGN_OR_RETURN(const auto plan, PlacementPlan::linear(1, experts));
  LoadOptions load;
  load.max_batched_tokens = kMostRows;
  ASSIGN_OR_RETURN(const auto rank,
                   RankExperts::load(model, plan, RankId{0}, *backend.device, backend.ops, *stream, load));
  const std::int32_t many = std::min(pieces.experts, 16);
  ASSIGN_OR_RETURN(const double one, answer_seconds(*rank, model.config, layer, 1, 1));
  ASSIGN_OR_RETURN(const double several, answer_seconds(*rank, model.config, layer, many, 1));
  ASSIGN_OR_RETURN(const double wide, answer_seconds(*rank, model.config, layer, many, 4));
  pieces.expert_seconds = std::max(several - one, 0.0) / (many - 1);
  pieces.expert_row_seconds = std::max(wide - several, 0.0) / (3.0 * many);
  return {};
}

Status measure_link(StarRanks& pieces) {
  constexpr std::size_t kLarge = std::size_t{1} << 20;
  ASSIGN_OR_RETURN(const double small, round_trip(64));
  ASSIGN_OR_RETURN(const double large, round_trip(kLarge));
  pieces.link.alpha = small / 2;
  pieces.link.bytes_per_second = static_cast<double>(kLarge) / (std::max(large - small, 1e-9) / 2);
  return {};
}

}  // namespace

Result<ScaleCheck> check_scale(const std::string& model, std::int32_t ranks, const std::vector<std::int32_t>& rows) {
  ScaleCheck check;
  check.pieces.cores = static_cast<std::int32_t>(std::max(1u, std::thread::hardware_concurrency()));
  RETURN_IF_ERROR(measure_expert(model, check.pieces));
  RETURN_IF_ERROR(measure_link(check.pieces));
  for (const std::int32_t width : rows) {
    if (width > kMostRows) return invalid_argument("at most " + std::to_string(kMostRows) + " rows", "rows");
    StarRanks star = check.pieces;
    ASSIGN_OR_RETURN(const double alone, measure_step(model, 1, width));
    star.dense_seconds = std::max(alone - star_times(star, width).experts, 0.0);
    check.steps.push_back({.ranks = 1, .rows = width, .measured = alone});
    for (star.ranks = 2; star.ranks <= ranks; ++star.ranks) {
      ASSIGN_OR_RETURN(const double measured, measure_step(model, star.ranks, width));
      check.steps.push_back({star.ranks, width, measured, star_times(star, width).step()});
    }
  }
  return check;
}

}  // namespace foregate
