#include "server/app/batch.h"

#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

#include "engine/base/log.h"
#include "server/app/load_bar.h"
#include "server/batch/batch_output.h"
#include "server/batch/batch_runner.h"
#include "server/batch/batch_summary.h"
#include "server/batch/dry_run.h"
#include "server/batch/line_source.h"
#include "server/batch/speed_probe.h"
#include "server/http/service.h"
#include "server/net/tcp.h"

namespace foregate {
namespace {

constexpr double kProgressSeconds = 0.25;
constexpr std::size_t kWindowPerSlot = 16;  // lines read ahead for each sequence of a step
constexpr std::int64_t kQueue = 1024;       // sequences that wait beyond those of a step

int code_of(const Status& status) {
  const Code code = status.code();
  return code == Code::kInternal || code == Code::kUnavailable || code == Code::kResourceExhausted ? 1 : 2;
}

int complain(const Status& status) {
  std::fprintf(stderr, "foregate batch: %s\n", status.to_string().c_str());
  return code_of(status);
}

// When the batch was made, as far as its first file tells: the same for every run of it.
std::int64_t time_of(const std::vector<std::string>& inputs) {
  struct stat facts {};
  return ::stat(inputs[0].c_str(), &facts) == 0 ? static_cast<std::int64_t>(facts.st_mtime) : 0;
}

// `seqs`: sequences of a step. What is read from standard input is not read far ahead: its writer may be waiting.
BatchOptions batch_options(const ServeOptions& options, const BatchArguments& arguments, std::size_t seqs) {
  BatchOptions batch;
  batch.in_flight = std::min(2 * seqs, seqs + static_cast<std::size_t>(options.max_num_queued_reqs));
  batch.by_beginning = arguments.throughput &&
                       std::find(arguments.inputs.begin(), arguments.inputs.end(), "-") == arguments.inputs.end();
  batch.window = std::max<std::size_t>(256, kWindowPerSlot * seqs);
  batch.seed = static_cast<std::uint64_t>(options.seed);
  batch.created = time_of(arguments.inputs);
  return batch;
}

// One run. Members are destroyed from the last to the first.
class Batch {
 public:
  Batch(const ServeOptions& options, const BatchArguments& arguments, LineSource& source, BatchOutput& output)
      : options_(options),
        arguments_(arguments),
        source_(source),
        output_(output),
        loop_(make_tcp_loop()),
        frontend_(*loop_, {static_cast<std::size_t>(options.worker_threads),
                           static_cast<std::size_t>(options.max_num_queued_reqs)}),
        service_(*loop_, frontend_, {}, metrics_),
        progress_timer_(loop_->make_timer()) {}

  Metrics& metrics() { return metrics_; }

  int run(std::shared_ptr<const ServedModel> served) {
    served_ = std::move(served);
    before_ = served_->engine->stats();
    runner_ = std::make_unique<BatchRunner>(
        *loop_, service_.callbacks(), source_, output_,
        batch_options(options_, arguments_, static_cast<std::size_t>(served_->max_num_seqs)),
        [this](const Status& status) { ended(status); });
    frontend_.set_backend(served_);
    loop_->watch_signals({SIGTERM, SIGINT}, [this](int) { on_signal(); });
    began_ = loop_->clock().now();
    loop_->post([this] { runner_->start(); });
    show_progress();
    loop_->run();
    bar_.clear();
    const EngineStats after = served_->engine->stats();
    std::fputs(batch_summary(runner_->counts(), before_, after, seconds()).c_str(), stderr);
    end_engine();
    if (!status_.ok()) return complain(status_);
    return runner_->stopped() ? 130 : 0;
  }

 private:
  void ended(const Status& status) {
    status_ = status;
    loop_->stop();
  }

  void on_signal() {
    if (runner_->stopped()) std::_Exit(130);
    bar_.clear();
    log_warn("signal: waiting for " + std::to_string(runner_->in_flight()) +
             " requests that are under way; the same command goes on later; a second signal leaves at once");
    runner_->stop();
  }

  double seconds() const { return std::max(1e-9, seconds_between(began_, loop_->clock().now())); }

  void show_progress() {
    const BatchCounts& now = runner_->counts();
    const std::uint64_t total = source_.total_bytes();
    const auto done = static_cast<double>(now.answered + now.resumed + now.duplicates);
    const double read = total == 0 ? 0.0 : static_cast<double>(source_.consumed_bytes()) / static_cast<double>(total);
    const double part = now.lines == 0 ? 0.0 : read * done / static_cast<double>(now.lines);
    char text[160];
    std::snprintf(text, sizeof text, "%llu answers, %llu failed, %.0f tokens/s",
                  static_cast<unsigned long long>(now.answered), static_cast<unsigned long long>(now.faults),
                  static_cast<double>(now.prompt_tokens + now.completion_tokens) / seconds());
    std::string stage = text;
    if (part > 0.02 && part < 1.0) {
      std::snprintf(text, sizeof text, ", %.0f s left", seconds() * (1.0 - part) / part);
      stage += text;
    }
    bar_.show(stage, part);
    progress_timer_->arm(kProgressSeconds, [this] { show_progress(); });
  }

  void end_engine() {
    frontend_.fail_open(unavailable("the run ends"));
    frontend_.release_backend();
    for (int i = 0; i < 400 && served_.use_count() > 1; ++i) {
      loop_->run_ready();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    served_ = nullptr;
    loop_->run_ready();
  }

  const ServeOptions& options_;
  const BatchArguments& arguments_;
  LineSource& source_;
  BatchOutput& output_;
  Metrics metrics_;
  std::unique_ptr<TcpLoop> loop_;
  Frontend frontend_;
  Service service_;
  LoadBar bar_;
  std::unique_ptr<Timer> progress_timer_;
  std::shared_ptr<const ServedModel> served_;
  TimeNs began_ = 0;
  Status status_;
  EngineStats before_;
  std::unique_ptr<BatchRunner> runner_;  // from the start of the run on
};

int show_dry_run(const ServeOptions& options, const ServedModel& served, LineSource& source) {
  const auto counted = dry_run(source, served.context, static_cast<std::uint64_t>(options.seed));
  if (!counted.ok()) return complain(counted.status());
  std::fputs(dry_run_text(counted.value()).c_str(), stdout);
  const auto speed = probe_speed(*served.engine, counted.value(), served.max_num_seqs);
  std::fputs(speed.ok() ? estimate_text(counted.value(), speed.value()).c_str()
                        : ("no estimate of the time: " + speed.status().message() + "\n").c_str(),
             stdout);
  return counted.value().faults.empty() ? 0 : 1;
}

}  // namespace

ServeOptions throughput_options() {
  ServeOptions options;
  options.max_num_seqs = options.max_num_batched_tokens = 0;
  options.max_num_queued_reqs = kQueue;
  return options;
}

int run_batch(const ServeOptions& options, const BatchArguments& arguments, const BackendLoader& loader) {
  LogLevel level = LogLevel::kInfo;
  parse_log_level(options.log_level, &level);
  set_log_level(level);
  std::signal(SIGPIPE, SIG_IGN);
  LineSource source(arguments.inputs);
  if (const Status checked = source.check(); !checked.ok()) return complain(checked);
  BatchOutput output;
  if (!arguments.dry_run) {
    auto opened = BatchOutput::open(arguments.output);
    if (!opened.ok()) return complain(opened.status());
    output = std::move(opened).value();
  }
  Batch batch(options, arguments, source, output);
  LoadBar bar;
  auto served =
      loader(options, batch.metrics(), [&bar](std::string_view stage, double part) { bar.show(stage, part); });
  bar.clear();
  if (!served.ok()) return complain(served.status());
  if (!arguments.dry_run) return batch.run(std::move(served).value());
  return show_dry_run(options, **served, source);
}

}  // namespace foregate
