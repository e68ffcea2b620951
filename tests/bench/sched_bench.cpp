// What a step costs beside the model: plans, blocks, sampling, events and figures, with so many sequences decoding.
//   sched_bench MODEL [SEQUENCES [STEPS]]
// Each policy runs the model, and then a model that computes nothing over a vocabulary of 64, whose turns are the
// scheduler's alone: the same sequences, positions and blocks.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/runtime/boot.h"
#include "engine/runtime/engine_impl.h"

namespace foregate {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::int32_t kBlankVocab = 64;
constexpr std::int32_t kPrompt = 32;

double since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// Times what is inside; without an inner model every logit is that of the token.
class Timed final : public Model {
 public:
  Timed(Model& layout, bool blank, double& seconds) : inner_(layout), blank_(blank), seconds_(seconds) {}
  Status forward(const ForwardInput& input, KvCache& cache, View2<float> logits) override {
    const auto start = SteadyClock::now();
    Status status;
    if (blank_) {
      for (std::int64_t row = 0; row < logits.rows; ++row) {
        std::fill_n(logits.data + row * logits.stride, logits.cols, 0.0f);
        logits.data[row * logits.stride + row % logits.cols] = 1.0f;
      }
    } else {
      status = inner_.forward(input, cache, logits);
    }
    seconds_ += since(start);
    return status;
  }
  std::int32_t vocab_size() const override { return blank_ ? kBlankVocab : inner_.vocab_size(); }
  KvLayout kv_layout(DType type, std::int32_t block_size) const override { return inner_.kv_layout(type, block_size); }

 private:
  Model& inner_;
  bool blank_;
  double& seconds_;
};

class Silent final : public EventSink {
 public:
  void on_event(TokenEvent) override {}
};

struct Times {
  double turn = 0;   // medians, seconds
  double model = 0;  // of it
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0.0 : values[values.size() / 2];
}

Result<Times> run(BootedModel& booted, PolicyKind policy, bool blank, int sequences, int steps) {
  double seconds = 0;
  EngineParts parts;
  parts.model = std::make_unique<Timed>(booted.model(), blank, seconds);
  parts.device = &booted.device();
  parts.options.max_num_seqs = sequences;
  parts.options.max_num_queued_reqs = sequences;
  parts.options.policy.kind = policy;
  parts.options.policy.dlpm.look_ahead = sequences;
  parts.limits.vocab_size = parts.info.vocab_size = parts.model->vocab_size();
  parts.limits.max_model_len = parts.info.max_model_len = booted.info().max_model_len;
  const std::int32_t tokens = std::min(steps + 64, parts.limits.max_model_len - kPrompt);
  const KvLayout layout = parts.model->kv_layout(booted.report().kv_type, 16);
  ASSIGN_OR_RETURN(parts.cache, KvCache::create(booted.device(), layout, sequences * ((kPrompt + tokens) / 16 + 1)));
  parts.clock = &system_clock();
  EngineImpl engine(std::move(parts), Drive::kCaller);
  const auto sink = std::make_shared<Silent>();
  for (int i = 0; i < sequences; ++i) {
    Request request;
    request.id = RequestId{static_cast<std::uint64_t>(i) + 1};
    request.client = static_cast<std::uint64_t>(i % 16);
    for (int t = 0; t < kPrompt; ++t) request.prompt.push_back((i * 7 + t * 3) % kBlankVocab);
    request.sampling = {.temperature = 0, .max_tokens = tokens, .ignore_eos = true};
    RETURN_IF_ERROR(engine.submit(std::move(request), sink));
  }
  std::vector<double> turns, models;
  while (!engine.idle() && turns.size() < static_cast<std::size_t>(steps)) {
    seconds = 0;
    const auto start = SteadyClock::now();
    const std::uint64_t before = engine.stats().generated_tokens;
    engine.turn();
    const double turn = since(start);
    const bool full = engine.stats().generated_tokens - before == static_cast<std::uint64_t>(sequences);
    if (!full) continue;  // prompts
    turns.push_back(turn);
    models.push_back(seconds);
  }
  if (turns.empty()) return internal_error("no step had all sequences");
  return Times{median(turns), median(models)};
}

int bench(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "sched_bench MODEL [SEQUENCES [STEPS]]\n"), 2;
  const int sequences = argc > 2 ? std::max(1, std::atoi(argv[2])) : 256;
  const int steps = argc > 3 ? std::max(1, std::atoi(argv[3])) : 100;
  set_log_level(LogLevel::kError);
  BootOptions options;
  options.model = argv[1];
  options.max_num_batched_tokens = std::max(512, sequences);
  auto booted = boot_model(options);
  if (!booted.ok()) return std::fprintf(stderr, "%s\n", booted.status().to_string().c_str()), 1;
  std::printf("%d sequences, medians of %d steps, microseconds\n", sequences, steps);
  std::printf("| policy | turn | model | beside it | scheduler alone | of the turn |\n|---|---|---|---|---|---|\n");
  for (const char* name : {"fcfs", "priority", "mlfq", "dlpm"}) {
    const auto whole = run(**booted, *policy_named(name), false, sequences, steps);
    const auto blank = run(**booted, *policy_named(name), true, sequences, steps);
    if (!whole.ok() || !blank.ok()) {
      const Status& why = whole.ok() ? blank.status() : whole.status();
      return std::fprintf(stderr, "%s\n", why.to_string().c_str()), 1;
    }
    const double alone = blank->turn - blank->model;
    std::printf("| %s | %.0f | %.0f | %.0f | %.0f | %.2f %% |\n", name, whole->turn * 1e6, whole->model * 1e6,
                (whole->turn - whole->model) * 1e6, alone * 1e6, 100 * alone / whole->turn);
  }
  return 0;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  return foregate::bench(argc, argv);
}
