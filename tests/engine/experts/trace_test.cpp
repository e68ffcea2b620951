// Traces come back as they were told, in bounded memory, and a damaged file is refused with its name and the offset.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "engine/base/rng.h"
#include "engine/experts/trace_reader.h"
#include "engine/experts/trace_writer.h"
#include "tests/engine/weights/memory_output.h"

namespace foregate {
namespace {

TraceInfo some_info() {
  TraceInfo info;
  info.model = "demo";
  info.weights_id = 77;
  info.top_k = 2;
  info.experts = {0, 8, 5};
  info.expert_bytes = {0, 4096, 8192};
  info.slots = 6;
  info.policy = "score";
  info.resident = {{LayerId{1}, ExpertId{7}}, {LayerId{2}, ExpertId{0}}, {LayerId{2}, ExpertId{4}}};
  info.counters.rates = {{}, {0, 0.5f, 0.25f, 0, 1, 0, 0, 2}, {1, 2, 3, 4, 5}};
  return info;
}

UsePhase phase_of(const std::vector<std::uint64_t>& requests) {
  return std::adjacent_find(requests.begin(), requests.end()) == requests.end() ? UsePhase::kDecode
                                                                                : UsePhase::kPrefill;
}

// What one layer told, with its memory.
struct Told {
  std::vector<std::uint64_t> requests;
  std::vector<std::int32_t> positions;
  TraceLayer layer;
  std::vector<std::uint8_t> prompt;
  std::vector<std::uint8_t> drafted;
  LayerRoutes routes(std::int64_t step) const {
    return {step,          phase_of(requests), layer.layer,    requests, positions,         layer.ids,
            layer.weights, layer.resident,     layer.streamed, prompt,   layer.reads_ahead, drafted};
  }
};

Told tell(std::uint64_t seed, std::int32_t layer, std::int32_t experts, std::size_t rows) {
  Told told;
  std::uint64_t draws = 0;
  const auto draw = [&](int n) {
    return static_cast<int>(uniform01(seed, static_cast<std::uint64_t>(layer), draws++) * n);
  };
  for (std::size_t row = 0; row < rows; ++row) {
    told.requests.push_back(10 + row / 2);
    told.positions.push_back(static_cast<std::int32_t>(100 + row));
  }
  told.layer.layer = LayerId{layer};
  told.layer.streamed = draw(2) == 1;
  told.layer.reads_ahead = draw(2) == 1;
  for (std::size_t i = 0; i < rows * 2; ++i) {
    told.layer.ids.push_back(draw(experts));
    told.layer.weights.push_back(static_cast<float>(draw(1000)) / 1000);
    told.layer.resident.push_back(static_cast<std::uint8_t>(draw(2)));
  }
  return told;
}

constexpr const char* kPath = "dir/trace";

struct Recorded {
  MemoryFiles files;
  std::vector<std::vector<Told>> steps;
};

void record(Recorded& out, int steps) {
  MemoryOutput dir(out.files, "dir");
  auto file = dir.open("trace");
  ASSERT_TRUE(file.ok());
  auto writer = TraceWriter::create(std::move(file).value(), some_info());
  ASSERT_TRUE(writer.ok()) << writer.status().to_string();
  for (int step = 0; step < steps; ++step) {
    const std::size_t rows = 1 + static_cast<std::size_t>(step % 4);
    std::vector<Told>& told = out.steps.emplace_back();
    told.push_back(tell(static_cast<std::uint64_t>(step), 1, 8, rows));
    if (step % 4 > 1)
      told[0].prompt = step % 4 == 2 ? std::vector<std::uint8_t>{1, 1, 0} : std::vector<std::uint8_t>{0, 1, 1, 0};
    if (step % 3 != 2) told.push_back(tell(static_cast<std::uint64_t>(step), 2, 5, rows));
    for (const Told& layer : told) writer->on_routes(layer.routes(step * 2));
  }
  ASSERT_TRUE(writer->finish().ok());
  ASSERT_EQ(writer->steps(), steps);
  ASSERT_EQ(writer->bytes(), out.files.contents[kPath].size());
}

// The first error of reading the whole file, or kOk.
Status read_all(const MemoryFiles& files, int* steps = nullptr) {
  auto file = files.open(kPath);
  if (!file.ok()) return file.status();
  auto reader = TraceReader::open(**file);
  if (!reader.ok()) return reader.status();
  TraceStep step;
  for (;;) {
    auto more = reader->next(step);
    if (!more.ok()) return more.status();
    if (!*more) return {};
    if (steps != nullptr) ++*steps;
  }
}

TEST(Trace, ComesBackAsItWasTold) {
  Recorded recorded;
  record(recorded, 9);
  auto file = recorded.files.open(kPath);
  auto reader = TraceReader::open(**file);
  ASSERT_TRUE(reader.ok()) << reader.status().to_string();
  const TraceInfo info = some_info();
  EXPECT_EQ(reader->info().model, info.model);
  EXPECT_EQ(reader->info().weights_id, info.weights_id);
  EXPECT_EQ(reader->info().top_k, info.top_k);
  EXPECT_EQ(reader->info().experts, info.experts);
  EXPECT_EQ(reader->info().expert_bytes, info.expert_bytes);
  EXPECT_EQ(reader->info().slots, info.slots);
  EXPECT_EQ(reader->info().policy, info.policy);
  EXPECT_EQ(reader->info().resident, info.resident);
  EXPECT_EQ(reader->info().counters.rates, info.counters.rates);
  TraceStep step;
  for (std::size_t i = 0; i < recorded.steps.size(); ++i) {
    auto more = reader->next(step);
    ASSERT_TRUE(more.ok()) << more.status().to_string();
    ASSERT_TRUE(*more);
    const std::vector<Told>& told = recorded.steps[i];
    EXPECT_EQ(step.step, static_cast<std::int64_t>(i) * 2);
    EXPECT_EQ(step.phase, i % 4 == 0 ? UsePhase::kDecode : UsePhase::kPrefill);
    EXPECT_EQ(step.requests, told[0].requests);
    EXPECT_EQ(step.positions, told[0].positions);
    const std::vector<std::uint8_t> whole(told[0].requests.size(), i % 4 == 0 ? 0 : 1);
    EXPECT_EQ(step.prompt, told[0].prompt.empty() ? whole : told[0].prompt);
    ASSERT_EQ(step.layers.size(), told.size());
    for (std::size_t l = 0; l < told.size(); ++l) {
      EXPECT_EQ(step.layers[l].layer, told[l].layer.layer);
      EXPECT_EQ(step.layers[l].streamed, told[l].layer.streamed);
      EXPECT_EQ(step.layers[l].reads_ahead, told[l].layer.reads_ahead);
      EXPECT_EQ(step.layers[l].ids, told[l].layer.ids);
      EXPECT_EQ(step.layers[l].weights, told[l].layer.weights);
      EXPECT_EQ(step.layers[l].resident, told[l].layer.resident);
    }
  }
  EXPECT_FALSE(*reader->next(step));
  EXPECT_FALSE(*reader->next(step));
  EXPECT_EQ(reader->steps(), 9);
}

// Rows 1 to 3 are a draft of row 0's sequence, rows 5 and 6 one of row 4's: two of the first stood, none of the second.
TEST(Trace, DraftsComeBackWithTheirVerdict) {
  MemoryFiles files;
  MemoryOutput dir(files, "dir");
  auto writer = TraceWriter::create(*dir.open("trace"), some_info());
  const std::vector<std::uint64_t> requests = {8, 8, 8, 8, 9, 9, 9};
  const std::vector<std::uint8_t> drafted = {0, 1, 1, 1, 0, 1, 1};
  const std::vector<std::uint8_t> stood = {0, 1, 1, 0, 0, 0, 0};
  for (std::int64_t step = 0; step < 2; ++step) {
    Told told = tell(3, 1, 8, requests.size());
    LayerRoutes routes = told.routes(step);
    routes.requests = requests;
    routes.phase = UsePhase::kDecode;
    routes.drafted = drafted;
    writer->on_routes(routes);
    if (step == 1) continue;                                      // it failed: nobody says what stood
    writer->on_drafts_stood(7, std::vector<std::uint8_t>(7, 1));  // of no such step
    writer->on_drafts_stood(0, stood);
  }
  ASSERT_TRUE(writer->finish().ok());
  auto file = files.open(kPath);
  auto reader = TraceReader::open(**file);
  TraceStep step;
  ASSERT_TRUE(*reader->next(step));
  EXPECT_EQ(step.drafted, drafted);
  EXPECT_EQ(step.stood, stood);
  EXPECT_EQ(longest_stood(step), 2);
  std::vector<bool> counts;
  for (std::size_t row = 0; row < 7; ++row) counts.push_back(step.counts(row));
  EXPECT_EQ(counts, (std::vector<bool>{true, true, true, false, true, false, false}));
  DistinctExperts second;
  find_stood(step, step.layers[0], 2, second);
  DistinctExperts row;
  find_distinct(std::span(step.layers[0].ids).subspan(4, 2), row);
  EXPECT_EQ(second.experts, row.experts);
  find_stood(step, step.layers[0], 3, second);
  EXPECT_TRUE(second.experts.empty());
  ASSERT_TRUE(*reader->next(step));
  EXPECT_EQ(longest_stood(step), 0);
  EXPECT_FALSE(step.counts(1));
}

TEST(Trace, WithoutFlagsAllExpertsWereInMemory) {
  Recorded recorded;
  MemoryOutput dir(recorded.files, "dir");
  auto writer = TraceWriter::create(*dir.open("trace"), some_info());
  Told told = tell(1, 1, 8, 3);
  told.layer.resident.clear();
  writer->on_routes(told.routes(0));
  ASSERT_TRUE(writer->finish().ok());
  auto file = recorded.files.open(kPath);
  auto reader = TraceReader::open(**file);
  TraceStep step;
  ASSERT_TRUE(*reader->next(step));
  EXPECT_EQ(step.layers[0].resident, std::vector<std::uint8_t>(6, 1));
}

TEST(Trace, AnOlderLongerFileIsCut) {
  Recorded recorded;
  recorded.files.contents[kPath] = std::string(1 << 20, 'x');
  record(recorded, 2);
  EXPECT_TRUE(read_all(recorded.files).ok());
}

TEST(Trace, EveryCutIsFound) {
  Recorded recorded;
  record(recorded, 3);
  const std::string good = recorded.files.contents[kPath];
  for (std::size_t size = 0; size < good.size(); ++size) {
    recorded.files.contents[kPath] = good.substr(0, size);
    const Status status = read_all(recorded.files);
    ASSERT_EQ(status.code(), Code::kDataLoss) << size << ": " << status.to_string();
    ASSERT_NE(status.message().find(kPath), std::string::npos);
    ASSERT_NE(status.message().find("offset"), std::string::npos);
  }
  recorded.files.contents[kPath] = good + "x";
  EXPECT_EQ(read_all(recorded.files).code(), Code::kDataLoss);
}

TEST(Trace, EveryFlippedBitIsFound) {
  Recorded recorded;
  record(recorded, 3);
  const std::string good = recorded.files.contents[kPath];
  for (std::size_t i = 0; i < good.size(); ++i) {
    recorded.files.contents[kPath] = good;
    recorded.files.contents[kPath][i] ^= static_cast<char>(1 << (i % 8));
    EXPECT_FALSE(read_all(recorded.files).ok()) << i;
  }
}

TEST(Trace, StepsBeforeTheDamageAreRead) {
  Recorded recorded;
  record(recorded, 6);
  std::string& bytes = recorded.files.contents[kPath];
  bytes[bytes.size() - 40] ^= 1;  // in the last step
  int steps = 0;
  const Status status = read_all(recorded.files, &steps);
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_EQ(steps, 5);
  EXPECT_NE(status.message().find("checksum of step 5"), std::string::npos) << status.message();
}

TEST(Trace, AnotherVersionIsRefusedByItsNumber) {
  Recorded recorded;
  record(recorded, 1);
  recorded.files.contents[kPath][8] = 9;
  const Status status = read_all(recorded.files);
  EXPECT_EQ(status.code(), Code::kUnimplemented);
  EXPECT_NE(status.message().find("version 9"), std::string::npos);
}

TEST(Trace, ReadErrorsPassThrough) {
  Recorded recorded;
  record(recorded, 2);
  int fails = 0;
  for (std::uint64_t n = 1; n <= 8; ++n) {
    recorded.files.fail_read = n;
    recorded.files.reads = 0;
    const Status status = read_all(recorded.files);
    if (status.code() == Code::kUnavailable) ++fails;
  }
  EXPECT_EQ(fails, 8);  // two of the header, two of each frame
}

TEST(Trace, WriteErrorsAreKept) {
  for (std::uint64_t n = 2; n < 9; ++n) {
    MemoryFiles files;
    MemoryOutput dir(files, "dir");
    dir.stop_at = n;
    dir.stop_with = resource_exhausted("the disk is full");
    auto file = dir.open("trace");
    auto writer = TraceWriter::create(std::move(file).value(), some_info());
    if (!writer.ok()) {
      EXPECT_EQ(writer.status().code(), Code::kResourceExhausted);
      continue;
    }
    for (int step = 0; step < 3; ++step) writer->on_routes(tell(1, 1, 8, 2).routes(step));
    EXPECT_EQ(writer->finish().code(), Code::kResourceExhausted) << n;
  }
}

// One step at a time is held, whatever the number of steps.
TEST(Trace, ReadsAndWritesStayWithinOneStep) {
  Recorded recorded;
  record(recorded, 200);
  ASSERT_TRUE(read_all(recorded.files).ok());
  EXPECT_LT(recorded.files.largest_read, 400U);
  EXPECT_GT(recorded.files.contents[kPath].size(), 20'000U);
}

TEST(Trace, RoutesThatDoNotFitAreRefused) {
  const auto finish_after = [](auto change) {
    MemoryFiles files;
    MemoryOutput dir(files, "dir");
    auto writer = TraceWriter::create(*dir.open("trace"), some_info());
    writer->on_routes(tell(1, 2, 5, 2).routes(4));
    Told told = tell(2, 1, 8, 2);
    std::int64_t step = 5;
    change(told, step);
    writer->on_routes(told.routes(step));
    return writer->finish();
  };
  EXPECT_TRUE(finish_after([](Told&, std::int64_t&) {}).ok());
  EXPECT_FALSE(finish_after([](Told&, std::int64_t& step) { step = 3; }).ok());
  EXPECT_FALSE(finish_after([](Told&, std::int64_t& step) { step = 4; }).ok());  // layer 1 after layer 2
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.layer.ids[1] = 8; }).ok());
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.layer.layer = LayerId{0}; }).ok());
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.layer.layer = LayerId{3}; }).ok());
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.layer.weights.pop_back(); }).ok());
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.positions.pop_back(); }).ok());
  EXPECT_TRUE(finish_after([](Told& told, std::int64_t&) { told.prompt = {0, 1}; }).ok());
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.prompt = {0, 1, 1}; }).ok());
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.prompt = {0, 0}; }).ok()) << "of a prefill";
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.layer.resident.pop_back(); }).ok());
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.drafted = {0, 1}; }).ok()) << "and of a prompt";
  EXPECT_FALSE(finish_after([](Told& told, std::int64_t&) { told.drafted = {0}; }).ok());
}

TEST(Trace, AHeaderThatDoesNotFitIsRefused) {
  const auto create = [](auto change) {
    MemoryFiles files;
    MemoryOutput dir(files, "dir");
    TraceInfo info = some_info();
    change(info);
    return TraceWriter::create(*dir.open("trace"), info).status().code();
  };
  EXPECT_EQ(create([](TraceInfo&) {}), Code::kOk);
  EXPECT_EQ(create([](TraceInfo& info) { info.top_k = 0; }), Code::kInvalidArgument);
  EXPECT_EQ(create([](TraceInfo& info) { info.experts[1] = 70'000; }), Code::kInvalidArgument);
  EXPECT_EQ(create([](TraceInfo& info) { info.expert_bytes.pop_back(); }), Code::kInvalidArgument);
  EXPECT_EQ(create([](TraceInfo& info) { info.model = std::string(300, 'm'); }), Code::kInvalidArgument);
  EXPECT_EQ(create([](TraceInfo& info) {
              info.resident.push_back({LayerId{1}, ExpertId{8}});
            }),
            Code::kInvalidArgument);
  EXPECT_EQ(create([](TraceInfo& info) { info.counters.rates[1].pop_back(); }), Code::kInvalidArgument);
  EXPECT_EQ(create([](TraceInfo& info) { info.counters = {}; }), Code::kOk);
}

TEST(Trace, RowsThatDecodeBesideAPromptAreCountedApart) {
  TraceStep step{.phase = UsePhase::kPrefill, .requests = {1, 1, 2}, .positions = {0, 1, 7}, .layers = {}};
  step.layers.push_back({.layer = LayerId{1}, .ids = {5, 2, 5, 9, 2, 5}, .weights = {}, .resident = {}});
  DistinctExperts distinct;
  find_distinct(step, step.layers[0], distinct);
  EXPECT_TRUE(distinct.decode_rows.empty()) << "all are of prompts";
  step.prompt = {1, 1, 0};
  find_distinct(step, step.layers[0], distinct);
  EXPECT_EQ(distinct.experts, (std::vector<std::int32_t>{2, 5, 9}));
  EXPECT_EQ(distinct.decode_rows, (std::vector<std::int32_t>{1, 1, 0}));
}

TEST(Trace, DistinctExpertsAscendWithTheirRows) {
  DistinctExperts distinct;
  find_distinct(std::vector<std::int32_t>{5, 2, 5, 9, 2, 5}, distinct);
  EXPECT_EQ(distinct.experts, (std::vector<std::int32_t>{2, 5, 9}));
  EXPECT_EQ(distinct.rows, (std::vector<std::int32_t>{2, 3, 1}));
  find_distinct({}, distinct);
  EXPECT_TRUE(distinct.experts.empty());
}

}  // namespace
}  // namespace foregate
