#include "tools/bench/bench_format.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string text(const char* format, ...) {
  char buffer[512];
  std::va_list values;
  va_start(values, format);
  std::vsnprintf(buffer, sizeof buffer, format, values);
  va_end(values);
  return buffer;
}

std::int64_t nanoseconds(double seconds) {
  return std::llround(seconds * 1e9);
}

Json nanoseconds(const std::vector<double>& seconds) {
  Json list = Json::array();
  for (const double value : seconds) list.push_back(nanoseconds(value));
  return list;
}

// What ran.
Json settings(const BenchModelFacts& model, const BenchLine& line) {
  const char* kv_type = dtype_name(line.test.kv_type);
  return {{"build_commit", build_commit()},
          {"backends", "CPU"},
          {"isa", model.isa},
          {"model_filename", model.model_filename},
          {"model_type", model.model_type},
          {"model_size", model.model_size},
          {"model_n_params", model.model_n_params},
          {"n_batch", line.test.batch},
          {"n_ubatch", line.test.chunk_tokens},
          {"n_threads", model.threads},
          {"type_k", kv_type},
          {"type_v", kv_type},
          {"n_prompt", line.test.prompt_tokens},
          {"n_gen", line.test.generated_tokens},
          {"n_depth", line.test.depth},
          {"test_time", line.test_time}};
}

Json figures(const BenchModelFacts& model, const BenchLine& line) {
  const Spread seconds = spread_of(line.samples_seconds);
  const Spread rate = spread_of(tokens_per_second(line));
  const BenchLimit limit = limit_of(line, model.integer_products);
  return {{"avg_ns", nanoseconds(seconds.mean)},
          {"stddev_ns", nanoseconds(seconds.deviation)},
          {"avg_ts", rate.mean},
          {"stddev_ts", rate.deviation},
          {"median_ts", rate.median},
          {"limit_ts", limit.tokens_per_second},
          {"limit_ratio", rate.median / limit.tokens_per_second},
          {"limit_by", limit.by},
          {"bytes_per_token", line.bytes_per_token},
          {"ops_per_token", line.ops_per_token},
          {"read_gbps", line.limits.read_bytes_per_second * 1e-9},
          {"int8_gops", line.limits.int8_macs_per_second * 1e-9},
          {"f32_gops", line.limits.f32_macs_per_second * 1e-9},
          {"load_seconds", model.load_seconds},
          {"peak_rss_bytes", line.peak_rss_bytes},
          {"huge_page_bytes", model.huge_page_bytes},
          {"note", model.note}};
}

// What the store of experts did, where there is one.
Json expert_figures(const BenchModelFacts& model, const BenchLine& line) {
  const ExpertFigures& experts = *line.experts;
  const ExpertRates rates = expert_rates(line);
  const HintBytes hints = experts.hint_bytes + experts.certain_bytes;
  return {{"expert_memory", model.expert_memory},
          {"expert_policy", model.expert_policy},
          {"expert_policy_now", experts.policy.now},
          {"expert_policy_switches", experts.policy.switches},
          {"expert_lookahead", model.lookahead},
          {"expert_hints", experts.hints},
          {"expert_hints_useful", experts.hints_useful},
          {"expert_hint_bytes", hints.asked},
          {"expert_hint_useful_bytes", hints.useful},
          {"expert_hint_late_bytes", hints.late},
          {"expert_hint_wasted_bytes", hints.wasted},
          {"expert_reads_ahead", experts.ahead},
          {"expert_reads_ahead_useful", experts.ahead_useful},
          {"expert_sweeps", experts.sweeps},
          {"expert_repeated_loads", experts.repeated_loads},
          {"expert_slots", experts.slots},
          {"expert_slot_bytes", experts.slot_bytes},
          {"resident_size", model.resident_size},
          {"expert_hits", experts.hits},
          {"expert_misses", experts.misses},
          {"expert_hit_rate", rates.hit_rate},
          {"expert_evictions", experts.evictions},
          {"expert_read_bytes_per_token", rates.bytes_per_token},
          {"expert_read_share", rates.read_share},
          {"expert_stall_share", rates.stall_share},
          {"disk_gbps", line.limits.disk_bytes_per_second * 1e-9}};
}

// Everything but the samples: one value per name.
Json scalars(const BenchModelFacts& model, const BenchLine& line) {
  Json row = settings(model, line);
  row.update(figures(model, line));
  if (line.experts) row.update(expert_figures(model, line));
  return row;
}

Json whole_row(const BenchModelFacts& model, const BenchLine& line) {
  Json row = scalars(model, line);
  row["samples_ns"] = nanoseconds(line.samples_seconds);
  row["samples_ts"] = tokens_per_second(line);
  return row;
}

// A path may hold bytes that are not UTF-8.
std::string dumped(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

class JsonFormat final : public BenchFormat {
 public:
  std::string begin(const BenchModelFacts&) override { return ""; }
  std::string line(const BenchModelFacts& model, const BenchLine& line) override {
    const char* before = first_ ? "[\n" : ",\n";
    first_ = false;
    return before + dumped(whole_row(model, line), 2);
  }
  std::string end() override { return first_ ? "[]\n" : "\n]\n"; }

 private:
  bool first_ = true;
};

class JsonLinesFormat final : public BenchFormat {
 public:
  std::string begin(const BenchModelFacts&) override { return ""; }
  std::string line(const BenchModelFacts& model, const BenchLine& line) override {
    return dumped(whole_row(model, line), -1) + "\n";
  }
  std::string end() override { return ""; }
};

// RFC 4180: texts in quotes, quotes doubled.
class CsvFormat final : public BenchFormat {
 public:
  std::string begin(const BenchModelFacts&) override { return ""; }
  std::string line(const BenchModelFacts& model, const BenchLine& line) override {
    const Json row = scalars(model, line);
    std::string names;
    std::string values;
    for (const auto& [name, value] : row.items()) {
      names += (names.empty() ? "" : ",") + name;
      values += (values.empty() ? "" : ",") + (value.is_string() ? quoted_field(value) : value.dump());
    }
    const bool header = std::exchange(first_, false);
    return (header ? names + "\n" : "") + values + "\n";
  }
  std::string end() override { return ""; }

 private:
  static std::string quoted_field(const std::string& value) {
    std::string field = "\"";
    for (const char c : value) field += c == '"' ? "\"\"" : std::string(1, c);
    return field + "\"";
  }
  bool first_ = true;
};

class MarkdownFormat final : public BenchFormat {
 public:
  std::string begin(const BenchModelFacts& m) override {
    std::string head = first_ ? "" : "\n";
    first_ = false;
    stored_ = !m.experts.empty();
    const std::int64_t resident = stored_ ? m.resident_size : m.model_size;
    const double huge = static_cast<double>(std::min(m.huge_page_bytes, resident));
    head += m.model_filename + ": " + m.model_type;
    head += text(", %.3f GB in memory after %.1f s, %.0f %% of it in huge pages, %s, %d threads\n",
                 static_cast<double>(resident) * 1e-9, m.load_seconds, 100.0 * huge / static_cast<double>(resident),
                 m.isa.c_str(), m.threads);
    if (stored_) head += "experts: " + m.experts + "\n";
    if (!m.note.empty()) head += "note: " + m.note + "\n";
    head += "\n| test | kv | tokens/s | MB read per token | million multiply-adds per token | limit tokens/s | by ";
    head += stored_ ? "| of the limit | peak RSS MiB | experts found | MB from disk per token | waited |\n"
                    : "| of the limit | peak RSS MiB |\n";
    return head + "|---|---|---:|---:|---:|---:|---|---:|---:|" + (stored_ ? "---:|---:|---:|\n" : "\n");
  }
  std::string line(const BenchModelFacts& model, const BenchLine& line) override {
    const Spread rate = spread_of(tokens_per_second(line));
    const BenchLimit limit = limit_of(line, model.integer_products);
    return text("| %s | %s | %.2f ± %.2f | %.2f | %.1f | %.1f | %s | %.0f %% | %.0f |", test_name(line.test).c_str(),
                dtype_name(line.test.kv_type), rate.mean, rate.deviation, line.bytes_per_token * 1e-6,
                line.ops_per_token * 1e-6, limit.tokens_per_second, by_text(line.limits, limit).c_str(),
                100.0 * rate.median / limit.tokens_per_second, static_cast<double>(line.peak_rss_bytes) / (1 << 20)) +
           expert_columns(line) + "\n";
  }
  std::string end() override { return ""; }

 private:
  std::string expert_columns(const BenchLine& line) const {
    if (!stored_ || !line.experts) return "";
    const ExpertRates rates = expert_rates(line);
    return text(" %.1f %% | %.2f | %.0f %% |", 100.0 * rates.hit_rate, rates.bytes_per_token * 1e-6,
                100.0 * rates.stall_share);
  }
  static std::string by_text(const MachineLimits& limits, const BenchLimit& limit) {
    const std::string_view by = limit.by;
    if (by == "disk") return text("disk, %.2f GB/s", limits.disk_bytes_per_second * 1e-9);
    if (by == "memory") return text("memory, %.1f GB/s", limits.read_bytes_per_second * 1e-9);
    const double macs = by == "int8" ? limits.int8_macs_per_second : limits.f32_macs_per_second;
    return text("%s, %.0f G/s", limit.by, macs * 1e-9);
  }
  bool first_ = true;
  bool stored_ = false;  // experts are in a store
};

}  // namespace

std::unique_ptr<BenchFormat> make_bench_format(std::string_view word) {
  if (word == "md") return std::make_unique<MarkdownFormat>();
  if (word == "json") return std::make_unique<JsonFormat>();
  if (word == "jsonl") return std::make_unique<JsonLinesFormat>();
  if (word == "csv") return std::make_unique<CsvFormat>();
  return nullptr;
}

}  // namespace foregate
