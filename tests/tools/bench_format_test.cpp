// What `foregate bench` writes, read back: JSON by a parser, csv and md by their rules.
#include "tools/bench/bench_format.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

namespace foregate {
namespace {

using Json = nlohmann::json;

BenchModelFacts facts() {
  BenchModelFacts model;
  model.model_filename = "dir/say \"x\", y.gguf";
  model.model_type = "olmoe 6.92 B q4_0";
  model.model_size = 4'000'000'000;
  model.model_n_params = 6'920'000'000;
  model.isa = "avx512";
  model.threads = 2;
  model.integer_products = true;
  model.load_seconds = 2.5;
  model.huge_page_bytes = 3'000'000'000;
  model.note = "a | b";
  return model;
}

BenchLine decode_line() {
  BenchLine line;
  line.test = {0, 128, 2, 64, 512, DType::kF16};
  line.test_time = "2026-11-26T07:00:00Z";
  line.samples_seconds = {8.0, 10.0, 16.0};  // 32, 25.6 and 16 tokens/s
  line.bytes_per_token = 0.6e9;
  line.ops_per_token = 1.2e9;
  line.limits = {24e9, 600e9, 160e9};
  line.peak_rss_bytes = std::int64_t{4100} << 20;
  return line;
}

BenchLine prefill_line() {
  BenchLine line = decode_line();
  line.test = {512, 0, 1, 0, 512, DType::kF32};
  line.samples_seconds = {2.0};
  line.bytes_per_token = 8e6;
  return line;
}

std::string written(const char* word) {
  const auto format = make_bench_format(word);
  std::string text = format->begin(facts());
  text += format->line(facts(), decode_line());
  text += format->line(facts(), prefill_line());
  return text + format->end();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// RFC 4180; every record here is one line.
std::vector<std::string> csv_fields(const std::string& line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"' && quoted && i + 1 < line.size() && line[i + 1] == '"') {
      fields.back() += line[i++];
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (line[i] == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += line[i];
    }
  }
  EXPECT_FALSE(quoted);
  return fields;
}

void check_row(const Json& row) {
  EXPECT_EQ(row["build_commit"], build_commit());
  EXPECT_EQ(row["model_filename"], "dir/say \"x\", y.gguf");
  EXPECT_EQ(row["model_type"], "olmoe 6.92 B q4_0");
  EXPECT_EQ(row["model_size"], 4'000'000'000);
  EXPECT_EQ(row["model_n_params"], 6'920'000'000);
  EXPECT_EQ(row["isa"], "avx512");
  EXPECT_EQ(row["n_batch"], 2);
  EXPECT_EQ(row["n_ubatch"], 512);
  EXPECT_EQ(row["n_threads"], 2);
  EXPECT_EQ(row["type_k"], "f16");
  EXPECT_EQ(row["type_v"], "f16");
  EXPECT_EQ(row["n_prompt"], 0);
  EXPECT_EQ(row["n_gen"], 128);
  EXPECT_EQ(row["n_depth"], 64);
  EXPECT_EQ(row["test_time"], "2026-11-26T07:00:00Z");
  EXPECT_EQ(row["avg_ns"], 11'333'333'333);
  EXPECT_EQ(row["stddev_ns"], 4'163'331'999);
  EXPECT_NEAR(row["avg_ts"].get<double>(), (32.0 + 25.6 + 16.0) / 3, 1e-9);
  EXPECT_NEAR(row["stddev_ts"].get<double>(), 8.0531, 1e-3);
  EXPECT_NEAR(row["median_ts"].get<double>(), 25.6, 1e-9);
  EXPECT_NEAR(row["limit_ts"].get<double>(), 40.0, 1e-9);
  EXPECT_NEAR(row["limit_ratio"].get<double>(), 0.64, 1e-9);
  EXPECT_EQ(row["limit_by"], "memory");
  EXPECT_EQ(row["bytes_per_token"], 0.6e9);
  EXPECT_EQ(row["ops_per_token"], 1.2e9);
  EXPECT_NEAR(row["read_gbps"].get<double>(), 24.0, 1e-9);
  EXPECT_NEAR(row["int8_gops"].get<double>(), 600.0, 1e-9);
  EXPECT_NEAR(row["f32_gops"].get<double>(), 160.0, 1e-9);
  EXPECT_EQ(row["peak_rss_bytes"], std::int64_t{4100} << 20);
  EXPECT_EQ(row["huge_page_bytes"], 3'000'000'000);
  EXPECT_EQ(row["note"], "a | b");
  EXPECT_EQ(row["samples_ns"], Json({8'000'000'000, 10'000'000'000, 16'000'000'000}));
  EXPECT_EQ(row["samples_ts"], Json({32.0, 25.6, 16.0}));
}

TEST(BenchFormat, JsonIsOneListOfRows) {
  const Json rows = Json::parse(written("json"));
  ASSERT_EQ(rows.size(), 2u);
  check_row(rows[0]);
  EXPECT_EQ(rows[1]["limit_by"], "int8");
  EXPECT_NEAR(rows[1]["limit_ts"].get<double>(), 500.0, 1e-9);
  EXPECT_EQ(rows[1]["stddev_ns"], 0);
}

TEST(BenchFormat, JsonWithoutRowsIsAnEmptyList) {
  EXPECT_EQ(Json::parse(make_bench_format("json")->end()), Json::array());
}

TEST(BenchFormat, JsonLinesAreTheSameRows) {
  const auto lines = lines_of(written("jsonl"));
  const Json rows = Json::parse(written("json"));
  ASSERT_EQ(lines.size(), 2u);
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(Json::parse(lines[i]), rows[i]);
}

TEST(BenchFormat, CsvHasOneHeaderAndTheScalarsOfTheRows) {
  const auto lines = lines_of(written("csv"));
  const Json rows = Json::parse(written("json"));
  ASSERT_EQ(lines.size(), 3u);
  const auto names = csv_fields(lines[0]);
  EXPECT_EQ(names.size(), rows[0].size() - 2);  // all but the samples
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto values = csv_fields(lines[i + 1]);
    ASSERT_EQ(values.size(), names.size());
    for (std::size_t f = 0; f < names.size(); ++f) {
      const Json& value = rows[i][names[f]];
      EXPECT_EQ(values[f], value.is_string() ? value.get<std::string>() : value.dump()) << names[f];
    }
  }
}

TEST(BenchFormat, MarkdownIsATableUnderItsFacts) {
  const auto lines = lines_of(written("md"));
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_NE(lines[0].find("4.000 GB in memory after 2.5 s, 75 % of it in huge pages"), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1], "note: a | b");
  for (std::size_t i = 3; i < lines.size(); ++i) {
    EXPECT_EQ(std::count(lines[i].begin(), lines[i].end(), '|'), 10) << lines[i];
  }
  EXPECT_NE(lines[5].find("| tg128 x 2 @ d64 | f16 | 24.53"), std::string::npos) << lines[5];
  EXPECT_NE(lines[5].find("| 40.0 | memory, 24.0 GB/s | 64 % | 4100 |"), std::string::npos) << lines[5];
  EXPECT_NE(lines[6].find("| 500.0 | int8, 600 G/s | 51 % |"), std::string::npos) << lines[6];
}

BenchModelFacts stored_facts() {
  BenchModelFacts model = facts();
  model.expert_memory = "50%";
  model.expert_policy = "lru";
  model.lookahead = "always";
  model.experts = "512 of 1024 in memory";
  model.resident_size = 2'500'000'000;
  return model;
}

BenchLine stored_line() {
  BenchLine line = decode_line();
  line.limits.disk_bytes_per_second = 2e9;
  line.experts = ExpertFigures{.hits = 30, .misses = 10, .evictions = 9, .loads = 10, .loaded_bytes = 76'800'000'000};
  line.experts->stall_seconds = 17.0;
  line.experts->slots = 512;
  line.experts->slot_bytes = 1'900'000'000;
  return line;
}

TEST(BenchFormat, ExpertsOnDiskBringFieldsOfTheirOwn) {
  const auto format = make_bench_format("jsonl");
  const Json row = Json::parse(format->line(stored_facts(), stored_line()));
  EXPECT_EQ(row["expert_memory"], "50%");
  EXPECT_EQ(row["expert_policy"], "lru");
  EXPECT_EQ(row["expert_lookahead"], "always");
  EXPECT_EQ(row["expert_slots"], 512);
  EXPECT_EQ(row["expert_slot_bytes"], 1'900'000'000);
  EXPECT_EQ(row["resident_size"], 2'500'000'000);
  EXPECT_EQ(row["expert_hits"], 30);
  EXPECT_EQ(row["expert_misses"], 10);
  EXPECT_EQ(row["expert_hit_rate"], 0.75);
  EXPECT_EQ(row["expert_evictions"], 9);
  EXPECT_EQ(row["expert_read_bytes_per_token"], 1e8);  // of 3 x 256 tokens
  EXPECT_EQ(row["expert_stall_share"], 0.5);
  EXPECT_EQ(row["disk_gbps"], 2.0);
  EXPECT_EQ(row["limit_by"], "disk");
  EXPECT_NEAR(row["limit_ts"].get<double>(), 20.0, 1e-9);
  EXPECT_NEAR(row["limit_ratio"].get<double>(), 1.28, 1e-9);
  EXPECT_FALSE(Json::parse(format->line(facts(), decode_line())).contains("expert_memory"));
}

TEST(BenchFormat, ExpertsOnDiskBringColumnsOfTheirOwn) {
  const auto format = make_bench_format("md");
  std::string text = format->begin(stored_facts());
  text += format->line(stored_facts(), stored_line());
  const auto lines = lines_of(text);
  ASSERT_EQ(lines.size(), 7u);
  EXPECT_NE(lines[0].find("2.500 GB in memory after 2.5 s, 100 % of it"), std::string::npos) << lines[0];
  EXPECT_EQ(lines[1], "experts: 512 of 1024 in memory");
  for (std::size_t i = 4; i < lines.size(); ++i) {
    EXPECT_EQ(std::count(lines[i].begin(), lines[i].end(), '|'), 13) << lines[i];
  }
  EXPECT_NE(lines[6].find("| 20.0 | disk, 2.00 GB/s | 128 % | 4100 | 75.0 % | 100.00 | 50 % |"), std::string::npos);
}

TEST(BenchFormat, AnOddPathDoesNotBreakTheJson) {
  BenchModelFacts model = facts();
  model.model_filename = "a\xff\n\"b";
  const auto format = make_bench_format("jsonl");
  const Json row = Json::parse(format->line(model, decode_line()));
  EXPECT_EQ(row["model_filename"], "a\xef\xbf\xbd\n\"b");  // U+FFFD for the byte that is no text
}

TEST(BenchFormat, OtherWordsAreNone) {
  EXPECT_EQ(make_bench_format("xml"), nullptr);
}

TEST(BuildCommit, IsACommitOrUnknown) {
  const std::string commit = build_commit();
  EXPECT_TRUE(commit == "unknown" || commit.find_first_not_of("0123456789abcdef") == std::string::npos) << commit;
  EXPECT_GE(commit.size(), 7u);
}

}  // namespace
}  // namespace foregate
