#include "tools/foregate/scale_check.h"

#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "engine/experts/trace.h"
#include "engine/model/transformer.h"
#include "engine/runtime/boot.h"
#include "tools/bench/bench_run.h"
#include "tools/foregate/scale_pieces.h"

namespace foregate {
namespace {

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// What the rows of each step chose, layer after layer.
class RouteList final : public RouteSink {
 public:
  void on_routes(const LayerRoutes& layer) override {
    if (steps_.empty() || layer.step != step_) steps_.emplace_back();
    step_ = layer.step;
    steps_.back().emplace_back(layer.ids.begin(), layer.ids.end());
  }
  std::vector<StarRoutes> take() { return std::exchange(steps_, {}); }

 private:
  std::int64_t step_ = -1;
  std::vector<StarRoutes> steps_;
};

// Threads that wait as ranks do: they look for a message and offer the processor, again and again.
class Waiting {
 public:
  explicit Waiting(std::int32_t count) {
    for (std::int32_t i = 0; i < count; ++i) {
      int fds[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return;
      fds_.insert(fds_.end(), fds, fds + 2);
      threads_.emplace_back([this, fd = fds[0]] {
        char byte;
        while (!over_) {
          if (::recv(fd, &byte, 1, MSG_DONTWAIT) < 0) ::sched_yield();
        }
      });
    }
  }
  ~Waiting() {
    over_ = true;
    for (std::thread& thread : threads_) thread.join();
    for (const int fd : fds_) ::close(fd);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  std::atomic<bool> over_ = false;
  std::vector<int> fds_;
  std::vector<std::thread> threads_;
};

// A model on so many ranks, whose decode steps of one width can be measured again and again.
struct StepBench {
  std::unique_ptr<BootedModel> model;
  std::optional<BenchRun> run;
  std::int32_t tokens = 1;

  Result<double> measure(bool warm) {  // seconds of a step
    RETURN_IF_ERROR(run->prepare(0, warm));
    ASSIGN_OR_RETURN(const BenchSample sample, run->repeat(0));
    return sample.seconds / tokens;
  }
};

Result<StepBench> open_steps(const ScaleCheckOptions& options, std::int32_t ranks, std::int32_t rows) {
  BootOptions boot;
  boot.model = options.model;
  boot.device = "cpu";
  boot.threads = 1;
  boot.max_num_batched_tokens = ScaleCheckOptions::kMostRows;
  boot.expert_parallel_size = ranks;
  StepBench bench;
  bench.tokens = options.tokens;
  ASSIGN_OR_RETURN(bench.model, boot_model(boot));
  const BenchTest test{.prompt_tokens = 0,
                       .generated_tokens = options.tokens,
                       .batch = rows,
                       .chunk_tokens = ScaleCheckOptions::kMostRows};
  ASSIGN_OR_RETURN(BenchRun run, BenchRun::create(bench.model->model(), bench.model->device(), test));
  bench.run.emplace(std::move(run));
  return bench;
}

// Everything that is measured, by width: pieces, and steps on 1, 2, ... ranks in turns, so that whatever else the
// machine does meets all of them alike.
struct Measured {
  std::map<std::int32_t, std::vector<StarRanks>> pieces;   // by ranks
  std::map<std::int32_t, std::vector<double>> steps;       // [rows][ranks - 1]
  std::map<std::int32_t, std::vector<double>> alone;       // [rows][others that wait beside the one rank]
  std::map<std::int32_t, std::vector<StarRoutes>> routes;  // [rows]
};

Result<std::vector<StarRoutes>> routes_of(StepBench& alone) {
  RouteList routes;
  auto& transformer = dynamic_cast<Transformer&>(alone.model->model());
  transformer.set_route_sink(&routes);
  const Status ran = alone.run->repeat(0).status();
  transformer.set_route_sink(nullptr);
  RETURN_IF_ERROR(ran);
  return routes.take();
}

Status measure_width(const ScaleCheckOptions& options, std::int32_t rows, ScalePieces& pieces, Measured& measured) {
  std::vector<StepBench> benches;
  for (std::int32_t n = 1; n <= options.ranks; ++n) {
    ASSIGN_OR_RETURN(benches.emplace_back(), open_steps(options, n, rows));
  }
  std::vector<std::vector<double>> steps(benches.size()), alone(benches.size());
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < benches.size(); ++i) {
      const auto ranks = static_cast<std::int32_t>(i) + 1;
      ASSIGN_OR_RETURN(steps[i].emplace_back(), benches[i].measure(round == 0));
      {
        const Waiting others(std::max(ranks - 2, 0));
        ASSIGN_OR_RETURN(measured.pieces[ranks].emplace_back(), pieces.measure());
      }
      const Waiting others(ranks - 1);
      ASSIGN_OR_RETURN(alone[i].emplace_back(), benches.front().measure(false));
    }
  }
  for (const auto& seconds : steps) measured.steps[rows].push_back(median(seconds));
  for (const auto& seconds : alone) measured.alone[rows].push_back(median(seconds));
  ASSIGN_OR_RETURN(measured.routes[rows], routes_of(benches.front()));
  return {};
}

// The median of each figure.
StarRanks middle_of(const std::vector<StarRanks>& all) {
  const auto of = [&all](auto get) {
    std::vector<double> values;
    for (const StarRanks& one : all) values.push_back(get(one));
    return median(std::move(values));
  };
  StarRanks middle = all.front();
  middle.expert_seconds = of([](const StarRanks& s) { return s.expert_seconds; });
  middle.expert_row_seconds = of([](const StarRanks& s) { return s.expert_row_seconds; });
  middle.send_seconds = of([](const StarRanks& s) { return s.send_seconds; });
  middle.link.alpha = of([](const StarRanks& s) { return s.link.alpha; });
  middle.link.bytes_per_second = of([](const StarRanks& s) { return s.link.bytes_per_second; });
  return middle;
}

Status check_options(const ScaleCheckOptions& options) {
  if (options.rows.size() < 2) return invalid_argument("two widths are measured to predict the others", "rows");
  for (const std::int32_t width : options.rows) {
    if (width >= 1 && width <= ScaleCheckOptions::kMostRows) continue;
    return invalid_argument("between 1 and " + std::to_string(ScaleCheckOptions::kMostRows) + " rows", "rows");
  }
  if (options.ranks < 2) return invalid_argument("two ranks are measured to predict more", "check-ranks");
  if (options.rounds < 1 || options.tokens < 1) return invalid_argument("there is nothing to measure", "rounds");
  return {};
}

// Every other width calibrates, the first and the last among them; between them a line is drawn.
std::vector<std::int32_t> calibrating(const Measured& measured) {
  std::vector<std::int32_t> widths;
  for (const auto& [rows, steps] : measured.steps) widths.push_back(rows);
  std::vector<std::int32_t> chosen;
  for (std::size_t i = 0; i < widths.size(); i += 2) chosen.push_back(widths[i]);
  if (chosen.back() != widths.back()) chosen.push_back(widths.back());
  return chosen;
}

// A step of one rank while `others` wait, without its experts; of the widths that calibrate.
double dense_seconds(const Measured& measured, StarRanks star, std::int32_t rows, std::int32_t others) {
  const std::vector<std::int32_t> widths = calibrating(measured);
  star.ranks = 1;
  const auto at = [&](std::int32_t width) {
    const double step = measured.alone.at(width)[static_cast<std::size_t>(others)];
    return std::max(step - star_times(star, measured.routes.at(width)).experts, 0.0);
  };
  auto high = std::lower_bound(widths.begin(), widths.end(), rows);
  if (*high == rows) return at(rows);
  const std::int32_t low = *(high - 1);
  return at(low) + (at(*high) - at(low)) * (rows - low) / (*high - low);
}

}  // namespace

double ScaleCheck::median_error() const {
  std::vector<double> errors;
  for (const ScaleChecked& step : steps) {
    if (!step.calibrates) errors.push_back(std::abs(step.predicted / step.measured - 1.0));
  }
  return median(std::move(errors));
}

namespace {

StarRanks star_of(const Measured& measured, std::int32_t ranks, std::int32_t rows) {
  StarRanks star = middle_of(measured.pieces.at(ranks));
  star.ranks = ranks;
  star.dense_seconds = dense_seconds(measured, star, rows, ranks - 1);
  return star;
}

// What two ranks take beyond their pieces, at the widths that calibrate.
StarRanks exchange_of_two(const Measured& measured, std::span<const std::int32_t> widths) {
  std::vector<StarMissing> missing;
  for (const std::int32_t rows : widths) {
    const auto& routes = measured.routes.at(rows);
    const double predicted = star_times(star_of(measured, 2, rows), routes).step();
    missing.push_back({routes, measured.steps.at(rows)[1] - predicted});
  }
  StarRanks star = star_of(measured, 2, widths.front());
  fit_exchange(missing, star);
  return star;
}

}  // namespace

Result<ScaleCheck> check_scale(const ScaleCheckOptions& options) {
  RETURN_IF_ERROR(check_options(options));
  ASSIGN_OR_RETURN(const auto pieces, ScalePieces::open(options.model, ScaleCheckOptions::kMostRows));
  Measured measured;
  for (const std::int32_t rows : options.rows) RETURN_IF_ERROR(measure_width(options, rows, *pieces, measured));
  const std::vector<std::int32_t> widths = calibrating(measured);
  ScaleCheck check;
  check.pieces = exchange_of_two(measured, widths);
  for (const auto& [rows, by_ranks] : measured.steps) {
    for (std::int32_t n = 1; n <= options.ranks; ++n) {
      StarRanks star = star_of(measured, n, rows);
      star.ask_seconds = check.pieces.ask_seconds;
      star.output_seconds = check.pieces.output_seconds;
      const StepTimes parts = star_times(star, measured.routes.at(rows));
      check.steps.push_back({.ranks = n,
                             .rows = rows,
                             .measured = by_ranks[static_cast<std::size_t>(n - 1)],
                             .predicted = parts.step(),
                             .parts = parts,
                             .calibrates = n <= 2 && std::binary_search(widths.begin(), widths.end(), rows)});
    }
  }
  return check;
}

}  // namespace foregate
