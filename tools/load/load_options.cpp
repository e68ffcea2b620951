#include "tools/load/load_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "tools/load/http_get.h"
#include "tools/load/load_runner.h"

namespace foregate {
namespace {

// As they stand on the command line, before they are made sense of.
struct Words {
  std::string url, host = "127.0.0.1", endpoint, extra_body;
  int port = 8000;
  std::vector<std::string> rates = {"inf"}, goodput, metrics, percentiles;
  std::optional<double> temperature;
  bool ignore_eos = false, quiet = false;
  std::optional<int> input, output, prefix;
};

void declare_target(CLI::App& app, BenchServeOptions& o, Words& words) {
  app.add_option("--backend", o.backend, "what is asked: openai (or vllm) for completions, openai-chat for chat")
      ->check(CLI::IsMember({"openai", "vllm", "openai-chat"}));
  app.add_option("--base-url", words.url, "http://HOST[:PORT] of the server");
  app.add_option("--host", words.host, "of the server, without --base-url");
  app.add_option("--port", words.port, "of the server, without --base-url")->check(CLI::Range(1, 65535));
  app.add_option("--endpoint", words.endpoint, "path that is asked, when it is not the backend's own");
  app.add_option("--model,--served-model-name", o.target.model,
                 "name of the model; empty: what the server takes without");
  app.add_option("--api-key", o.target.key, "sent as Authorization: Bearer KEY")->envname("OPENAI_API_KEY");
  app.add_option("--temperature", words.temperature, "of every request; 0 where it is not said")
      ->check(CLI::Range(0.0, 2.0));
  app.add_flag("--ignore-eos", words.ignore_eos, "every answer has the length asked for (vLLM and Foregate take it)");
  app.add_option("--extra-body", words.extra_body, "a JSON object whose fields go into every body");
  app.add_option("--timeout", o.target.timeout_seconds, "seconds for one request")->check(CLI::Range(0.1, 86400.0));
  app.add_option("--ready-check-timeout-sec", o.ready_seconds, "waits so long for a first answer; 0: does not wait")
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option("--num-warmups", o.warmups, "requests before those that count")->check(CLI::Range(0, 100'000));
}

void declare_dataset(CLI::App& app, BenchServeOptions& o, Words& words) {
  const CLI::Range length(1, kMostLength);
  app.add_option("--dataset-name", o.dataset, "random, prefix_repetition, sharegpt, custom (lines of JSON), trace")
      ->check(CLI::IsMember({"random", "prefix_repetition", "sharegpt", "custom", "trace"}));
  app.add_option(
      "--dataset-path", o.dataset_path,
      "file of sharegpt, of custom (lines with prompt or messages), of trace (Azure's CSV or Mooncake's lines)");
  app.add_option("--num-prompts", o.data.count, "requests of one run")->check(CLI::Range(1, 10'000'000));
  app.add_option("--input-len,--random-input-len,--prefix-repetition-suffix-len", words.input,
                 "words of a made prompt (128); results have the tokens that the server counted")
      ->check(length);
  app.add_option(
         "--output-len,--random-output-len,--prefix-repetition-output-len,--sharegpt-output-len,--custom-output-len",
         words.output, "tokens asked for (64; sharegpt: as many as were recorded, about)")
      ->check(length);
  app.add_option("--random-range-ratio", o.data.range, "lengths lie within so large a part of the above")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--prefix-len,--prefix-repetition-prefix-len", words.prefix,
                 "words of a beginning (96), before --input-len more")
      ->check(length);
  app.add_option("--num-prefixes,--prefix-repetition-num-prefixes", o.data.prefixes, "different beginnings")
      ->check(length);
  app.add_option("--seed", o.data.seed, "of prompts, lengths and arrivals");
}

void declare_run(CLI::App& app, BenchServeOptions& o, Words& words) {
  app.add_option("--request-rate", words.rates,
                 "requests a second, or inf; several, by commas, are run one after the other")
      ->delimiter(',');
  app.add_option("--burstiness", o.burstiness, "1: Poisson arrivals; less: bursts; more: even")
      ->check(CLI::Range(0.01, 1e6));
  app.add_option("--max-concurrency", o.concurrency, "requests that run at a time; 0: no limit but 1024")
      ->check(CLI::Range(0, kMostThreads));
  app.add_option("--goodput", words.goodput, "bounds in ms that a good request keeps: ttft:200 tpot:50 e2el:5000");
  app.add_option("--percentile-metrics", words.metrics, "which of ttft, tpot, itl, e2el are told")->delimiter(',');
  app.add_option("--metric-percentiles", words.percentiles, "which percentiles (90,95,99)")->delimiter(',');
  app.add_flag("--disable-tqdm", words.quiet, "no progress bar");
}

void declare_output(CLI::App& app, BenchServeOptions& o) {
  app.add_flag("--save-result", o.save_result, "writes the results as JSON");
  app.add_flag("--save-detailed", o.report.detailed, "with the figures of every request");
  app.add_option("--result-dir", o.result_dir, "folder of the results");
  app.add_option("--result-filename", o.result_name, "their name, when it is not made of backend, rate and time");
  app.add_option("--metadata", o.metadata, "KEY=VALUE ... put into the results");
  app.add_option("--label", o.label, "put into the results and their name");
  app.add_option("--plot", o.plot, "writes latency against rate there as SVG");
}

// A number above 0 and at most `most`, all of `word`.
std::optional<double> positive(const std::string& word, double most) {
  char* end = nullptr;
  const double value = std::strtod(word.c_str(), &end);
  if (word.empty() || *end != 0 || !(value > 0) || value > most) return std::nullopt;
  return value;
}

Result<ServiceLevel> parse_goodput(const std::vector<std::string>& words) {
  ServiceLevel level;
  for (const std::string& word : words) {
    const std::size_t colon = std::min(word.find(':'), word.size());
    const std::string name = word.substr(0, colon);
    std::optional<double>* bound = name == "ttft"   ? &level.ttft
                                   : name == "tpot" ? &level.tpot
                                   : name == "e2el" ? &level.e2el
                                                    : nullptr;
    const auto value = positive(word.substr(std::min(colon + 1, word.size())), 1e9);
    if (bound == nullptr || !value) {
      return invalid_argument("\"" + word + "\" is not ttft:MS, tpot:MS or e2el:MS", "goodput");
    }
    *bound = value;
  }
  return level;
}

Result<std::vector<double>> parse_rates(const std::vector<std::string>& words) {
  std::vector<double> rates;
  for (const std::string& word : words) {
    const auto rate = positive(word, 1e6);
    if (word != "inf" && !rate) return invalid_argument("\"" + word + "\" is neither a rate nor inf", "request-rate");
    rates.push_back(word == "inf" ? 0 : *rate);
  }
  return rates;
}

Status parse_figures(const Words& words, ReportOptions& report) {
  if (!words.metrics.empty()) report.metrics = words.metrics;
  for (const std::string& metric : report.metrics) {
    if (metric != "ttft" && metric != "tpot" && metric != "itl" && metric != "e2el") {
      return invalid_argument("\"" + metric + "\" is none of ttft, tpot, itl, e2el", "percentile-metrics");
    }
  }
  if (words.percentiles.empty()) return {};
  report.percentiles.clear();
  for (const std::string& word : words.percentiles) {
    const auto percent = positive(word, 100);
    if (!percent) return invalid_argument("\"" + word + "\" is not above 0 and at most 100", "metric-percentiles");
    report.percentiles.push_back(*percent);
  }
  std::sort(report.percentiles.begin(), report.percentiles.end());
  return {};
}

Status make_target(const Words& words, BenchServeOptions& o) {
  HttpPlace place{words.host, std::to_string(words.port), "/"};
  if (!words.url.empty()) {
    ASSIGN_OR_RETURN(place, parse_http_url(words.url));
    if (place.tls) return invalid_argument("must begin with http://: loads are sent without TLS", "url");
  }
  const bool chat =
      words.endpoint.empty() ? o.backend == "openai-chat" : words.endpoint.find("chat") != std::string::npos;
  if (o.backend.empty()) o.backend = chat ? "openai-chat" : "openai";
  o.target.host = place.host;
  o.target.port = place.port;
  o.target.path = !words.endpoint.empty() ? words.endpoint : chat ? "/v1/chat/completions" : "/v1/completions";
  o.data.chat = chat;
  nlohmann::json extra = nlohmann::json::object();
  extra["temperature"] = words.temperature.value_or(0);
  if (words.ignore_eos) extra["ignore_eos"] = true;
  if (!words.extra_body.empty()) {
    const auto more = nlohmann::json::parse(words.extra_body, nullptr, false);
    if (!more.is_object()) return invalid_argument("is not a JSON object", "extra-body");
    extra.update(more);
  }
  const std::string text = extra.dump();
  o.target.extra = text.substr(1, text.size() - 2);
  return {};
}

Status make_sense(const Words& words, BenchServeOptions& o) {
  RETURN_IF_ERROR(make_target(words, o));
  ASSIGN_OR_RETURN(o.rates, parse_rates(words.rates));
  ASSIGN_OR_RETURN(o.report.level, parse_goodput(words.goodput));
  RETURN_IF_ERROR(parse_figures(words, o.report));
  const bool recorded = o.dataset == "sharegpt";
  o.data.input_words = words.input.value_or(o.data.input_words);
  o.data.output_tokens = words.output.value_or(recorded ? 0 : o.data.output_tokens);
  o.data.prefix_words = words.prefix.value_or(o.data.prefix_words);
  o.progress = !words.quiet;
  o.save_result = o.save_result || o.report.detailed || !o.result_name.empty() || !o.result_dir.empty();
  const bool made = o.dataset == "random" || o.dataset == "prefix_repetition";
  if (!made && o.dataset_path.empty())
    return invalid_argument("--dataset-name " + o.dataset + " needs one", "dataset-path");
  for (const std::string& pair : o.metadata) {
    if (pair.find('=') == std::string::npos || pair.front() == '=') {
      return invalid_argument("\"" + pair + "\" is not KEY=VALUE", "metadata");
    }
  }
  return {};
}

}  // namespace

Result<BenchServeOptions> parse_load_options(int argc, const char* const* argv) {
  BenchServeOptions options;
  Words words;
  CLI::App app("Load for an OpenAI endpoint: latency, throughput, goodput", "foregate bench serve");
  declare_target(app, options, words);
  declare_dataset(app, options, words);
  declare_run(app, options, words);
  declare_output(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error, std::cout, std::cerr) == 0) return Status(Code::kCancelled, "help was shown");
    return invalid_argument("see --help");
  }
  RETURN_IF_ERROR(make_sense(words, options));
  return options;
}

}  // namespace foregate
