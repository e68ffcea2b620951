// foregate bench serve: load for any endpoint that speaks the OpenAI API, and what its clients see of it.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "tools/foregate/commands.h"
#include "tools/foregate/progress.h"
#include "tools/load/load_options.h"
#include "tools/load/load_runner.h"
#include "tools/load/load_schedule.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<std::vector<LoadRequest>> make_requests(const BenchServeOptions& o) {
  if (o.dataset == "random") return random_requests(o.data);
  if (o.dataset == "prefix_repetition") return repeated_prefixes(o.data);
  std::ifstream file(o.dataset_path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) return invalid_argument("cannot read " + o.dataset_path, "dataset-path");
  if (o.dataset == "custom") return requests_of_file(text, o.data);
  return o.dataset == "sharegpt" ? requests_of_sharegpt(text, o.data) : requests_of_trace(text, o.data);
}

// A trace brings its own times; a rate that is asked for wins over them.
std::vector<double> times_of(const std::vector<LoadRequest>& requests, double rate, const BenchServeOptions& o) {
  std::vector<double> times = arrival_times(requests.size(), rate, o.burstiness, o.data.seed);
  for (std::size_t i = 0; rate <= 0 && i < times.size(); ++i) times[i] = std::max(requests[i].at_seconds, 0.0);
  return times;
}

Status wait_until_ready(const BenchServeOptions& o, const LoadRequest& request) {
  if (o.ready_seconds <= 0) return {};
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(o.ready_seconds);
  for (;;) {
    const LoadOutcome outcome = stream_request(o.target, request);
    if (outcome.ok) return {};
    if (std::chrono::steady_clock::now() >= until) return unavailable("the server is not ready: " + outcome.error);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

std::string stamp() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y%m%d-%H%M%S", &parts);
  return text;
}

// What was asked, then what came of it, in vLLM's names.
Json described(const BenchServeOptions& o, const Json& figures) {
  Json report = {{"date", stamp()},
                 {"endpoint_type", o.backend},
                 {"backend", o.backend},
                 {"label", o.label.empty() ? Json() : Json(o.label)},
                 {"model_id", o.target.model.empty() ? Json() : Json(o.target.model)},
                 {"endpoint", o.target.path},
                 {"dataset_name", o.dataset},
                 {"seed", o.data.seed},
                 {"burstiness", o.burstiness}};
  for (const std::string& pair : o.metadata) report[pair.substr(0, pair.find('='))] = pair.substr(pair.find('=') + 1);
  report.update(figures);
  return report;
}

void print_report(const Json& report, const ReportOptions& options) {
  const auto number = [&report](const std::string& name) {
    return report[name].is_number() ? report[name].get<double>() : 0.0;
  };
  std::printf("\nrequests %.0f completed, %.0f failed, in %.2f s: %.3f a second", number("completed"), number("failed"),
              number("duration"), number("request_throughput"));
  if (report["request_goodput"].is_number()) std::printf(", %.3f of them good", number("request_goodput"));
  std::printf("\ntokens   %.0f in, %.0f out: %.1f out a second, %.1f in all\n", number("total_input_tokens"),
              number("total_output_tokens"), number("output_throughput"), number("total_token_throughput"));
  std::vector<std::string> columns = {"mean", "median"};
  for (const double p : options.percentiles) columns.push_back(percentile_name(p));
  std::printf("%-8s", "ms");
  for (const std::string& column : columns) std::printf(" %10s", column.c_str());
  for (const std::string& metric : options.metrics) {
    std::printf("\n%-8s", metric.c_str());
    for (const std::string& column : columns) std::printf(" %10.2f", number(column + "_" + metric + "_ms"));
  }
  std::printf("\n");
  for (const auto& [what, count] : report["error_counts"].items()) {
    std::printf("failed %d times: %s\n", count.get<int>(), what.c_str());
  }
  std::fflush(stdout);
}

Status write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.flush();
  return file ? Status() : unavailable("cannot write " + path.string());
}

Status save(const BenchServeOptions& o, const std::vector<Json>& reports) {
  if (!o.plot.empty()) RETURN_IF_ERROR(write_file(o.plot, load_plot(reports)));
  if (!o.save_result) return {};
  const std::string rate = reports.size() == 1 && o.rates[0] > 0 ? std::to_string(o.rates[0]) : "inf";
  std::string name = o.label.empty() ? o.backend : o.label;
  name += "-" + (reports.size() == 1 ? rate : "sweep") + "qps-" + stamp() + ".json";
  const std::filesystem::path folder(o.result_dir);
  if (!o.result_dir.empty()) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) return unavailable("cannot make " + o.result_dir + ": " + error.message());
  }
  const Json all = reports.size() == 1 ? reports[0] : Json(reports);
  return write_file(folder / (o.result_name.empty() ? name : o.result_name), dump(all));
}

Status run(const BenchServeOptions& o, bool& all_well) {
  ASSIGN_OR_RETURN(const std::vector<LoadRequest> requests, make_requests(o));
  RETURN_IF_ERROR(wait_until_ready(o, requests[0]));
  const auto send = [&o](const LoadRequest& one) { return stream_request(o.target, one); };
  if (o.warmups > 0) {
    const auto count = static_cast<std::size_t>(o.warmups);
    const LoadPlan warm{std::vector<LoadRequest>(count, requests[0]), std::vector<double>(count, 0.0), o.concurrency};
    (void)run_load(warm, send, {});
  }
  std::vector<Json> reports;
  for (const double rate : o.rates) {
    ProgressBar bar;
    const auto progress = [&](std::size_t ended) {
      bar.show("requests", static_cast<double>(ended) / static_cast<double>(requests.size()));
    };
    const LoadPlan plan{requests, times_of(requests, rate, o), o.concurrency};
    LoadRun done = run_load(plan, send, o.progress ? progress : std::function<void(std::size_t)>());
    done.rate = rate;
    bar.clear();
    reports.push_back(described(o, load_report(done, o.report)));
    print_report(reports.back(), o.report);
    all_well = all_well && reports.back()["failed"] == 0;
  }
  return save(o, reports);
}

}  // namespace

int bench_serve_command(int argc, char** argv) {
  auto options = parse_load_options(argc, argv);
  if (!options.ok() && options.status().code() == Code::kCancelled) return 0;
  bool all_well = true;
  const Status status = options.ok() ? run(*options, all_well) : options.status();
  if (!status.ok()) {
    std::fprintf(stderr, "foregate bench serve: %s\n", status.to_string().c_str());
    return status.code() == Code::kInvalidArgument ? 2 : 1;
  }
  return all_well ? 0 : 1;
}

}  // namespace foregate
