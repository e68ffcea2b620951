// Tokens per second with speculation over plain decoding: engines of one process, side by side, that get the same
// requests in turn in another order every round. The first two are plain, and what they differ by is noise. Answers
// must be equal.
//
//   spec_speed --model DIR --spec JSON [--spec JSON ...] [--clients 1,8] [--kind free|quote] [--rounds N] [--tokens N]
//              [--requests N] [--threads N] [--experts WORD] [--time clock|processor]
//              [--max-model-len TOKENS] [--kv-mib N]
//
// Ratios are medians over rounds, by the clock and by processor time of the process: with one thread the second does
// not see what else the machine does, and with `--time processor` neither do the engines, whose controllers then judge
// by it. One round before them does not count.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/runtime/boot.h"
#include "tests/bench/spec_texts.h"
#include "tools/foregate/queue_sink.h"

namespace foregate {
namespace {

struct Options {
  std::string model;
  std::vector<std::string> specs = {"", ""};
  std::vector<std::int32_t> clients = {1};
  bool quote = false;
  std::int32_t rounds = 5;
  std::int32_t requests = 4;  // of a round, at least one for each client
  std::int32_t tokens = 200;
  int threads = 1;
  std::string experts = "all";
  std::int32_t max_model_len = 0;  // 0: the model's own
  std::int64_t kv_mib = 48;        // of each engine
  bool processor_time = false;
};

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "spec_speed: %s\n", why.c_str());
  std::exit(2);
}

template <class T>
T must(Result<T> result) {
  if (!result.ok()) stop(result.status().to_string());
  return std::move(result).value();
}

double seconds_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

class ProcessorClock final : public Clock {
 public:
  TimeNs now() const override { return static_cast<TimeNs>(seconds_of(CLOCK_PROCESS_CPUTIME_ID) * 1e9); }
  std::int64_t wall_seconds() const override { return system_clock().wall_seconds(); }
};

using Tokens = std::vector<Token>;

// What an engine took for all requests of a round.
struct Took {
  double clock = 0.0;
  double processor = 0.0;
  std::vector<Tokens> answers;
};

struct Contestant {
  std::string spec;
  std::unique_ptr<BootedEngine> booted;
  std::vector<double> clock, processor;  // ratios: plain over this
  SpecFigures before;                    // what the first round counted
};

class Match {
 public:
  explicit Match(const Options& options) : options_(options) {
    for (const std::string& spec : options.specs) {
      BootOptions boot;
      boot.model = options.model;
      boot.threads = options.threads;
      boot.prefix_caching = false;
      boot.speculative_config = spec;
      boot.expert_memory = options.experts;
      boot.max_model_len = options.max_model_len;
      boot.kv_cache_bytes = options.kv_mib << 20U;
      if (options.processor_time) boot.clock = &processor_clock_;
      all_.push_back({spec, must(boot_engine(boot)), {}, {}, {}});
    }
  }

  void play(std::int32_t clients) {
    for (Contestant& one : all_) {
      one.clock.clear();
      one.processor.clear();
    }
    double plain = 0.0;
    const std::int32_t requests = std::max(clients, options_.requests);
    for (std::int32_t round = 0; round <= options_.rounds; ++round) {
      const std::vector<Tokens> prompts = prompts_of(round, requests);
      std::vector<Took> took(all_.size());
      for (std::size_t i = 0; i < all_.size(); ++i) {
        const std::size_t at = (i + static_cast<std::size_t>(round)) % all_.size();
        took[at] = run(*all_[at].booted, prompts, clients);
      }
      for (std::size_t i = 0; i < all_.size(); ++i) {
        if (took[i].answers != took[0].answers) stop("other answers than plain: " + all_[i].spec);
        if (round == 0) {
          if (i > 1) all_[i].before = *all_[i].booted->engine().stats().speculation;
          continue;
        }
        all_[i].clock.push_back(took[0].clock / took[i].clock);
        all_[i].processor.push_back(took[0].processor / took[i].processor);
      }
      if (round > 0) plain += requests * options_.tokens / took[0].clock / options_.rounds;
    }
    std::printf("%d clients, plain %.0f tokens/s\n", clients, plain);
    for (std::size_t i = 1; i < all_.size(); ++i) print(all_[i]);
    std::fflush(stdout);
  }

 private:
  std::vector<Tokens> prompts_of(std::int32_t round, std::int32_t count) {
    std::vector<Tokens> prompts;
    for (std::int32_t i = 0; i < count; ++i) {
      const auto seed = static_cast<std::uint64_t>(1000 * round + i);
      const std::string own = random_words(seed, options_.quote ? 60 : 4);
      const std::string text =
          options_.quote ? own + ".\n" + own + ".\n" + own.substr(0, 30) : "Once upon a time, " + own;
      prompts.push_back(must(all_[0].booted->tokenizer()->encode(text, {})));
    }
    return prompts;
  }

  Took run(BootedEngine& booted, const std::vector<Tokens>& prompts, std::int32_t clients) {
    QueueSink events;
    const auto sink = std::shared_ptr<EventSink>(std::shared_ptr<void>(), &events);
    Took took;
    took.answers.resize(prompts.size());
    std::size_t sent = 0;
    const std::uint64_t first = next_;
    const auto send = [&] {
      Request request;
      request.id = RequestId{next_++};
      request.prompt = prompts[sent++];
      request.sampling.temperature = 0.0f;
      request.sampling.ignore_eos = true;
      request.sampling.max_tokens = options_.tokens;
      const Status status = booted.engine().submit(std::move(request), sink);
      if (!status.ok()) stop(status.to_string());
    };
    const double clock = seconds_of(CLOCK_MONOTONIC);
    const double processor = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    while (sent < std::min(prompts.size(), static_cast<std::size_t>(clients))) send();
    for (std::size_t ended = 0; ended < prompts.size();) {
      const auto event = events.next(std::chrono::seconds(120));
      if (!event) stop("no token came within two minutes");
      Tokens& answer = took.answers[event->request.value - first];
      answer.insert(answer.end(), event->tokens.begin(), event->tokens.end());
      if (!event->finish) continue;
      if (*event->finish != FinishReason::kLength) stop("a request ended otherwise: " + event->error.to_string());
      ++ended;
      if (sent < prompts.size()) send();
    }
    took.clock = seconds_of(CLOCK_MONOTONIC) - clock;
    took.processor = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - processor;
    return took;
  }

  static std::string spread(std::vector<double> ratios) {
    std::sort(ratios.begin(), ratios.end());
    char text[64];
    std::snprintf(text, sizeof text, "%.3f (%.3f-%.3f)", ratios[ratios.size() / 2], ratios.front(), ratios.back());
    return text;
  }

  static void print(const Contestant& one) {
    std::printf("  clock %s, processor %s  %s\n", spread(one.clock).c_str(), spread(one.processor).c_str(),
                one.spec.empty() ? "plain again" : one.spec.c_str());
    if (one.spec.empty()) return;
    const SpecFigures now = *one.booted->engine().stats().speculation;
    const auto drafts = static_cast<double>(now.drafts - one.before.drafts);
    std::printf("    %.0f drafts of %.2f tokens, %.2f accepted; of place:", drafts,
                static_cast<double>(now.draft_tokens - one.before.draft_tokens) / drafts,
                static_cast<double>(now.accepted_tokens - one.before.accepted_tokens) / drafts);
    for (std::size_t i = 0; i < now.accepted_at.size(); ++i) {
      std::printf(" %.2f", static_cast<double>(now.accepted_at[i] - one.before.accepted_at[i]) / drafts);
    }
    std::printf("; %llu plain turns, %llu trials\n", static_cast<unsigned long long>(now.gated - one.before.gated),
                static_cast<unsigned long long>(now.probes - one.before.probes));
  }

  const Options& options_;
  const ProcessorClock processor_clock_;
  std::vector<Contestant> all_;
  std::uint64_t next_ = 1;
};

std::vector<std::int32_t> numbers(const std::string& list) {
  std::vector<std::int32_t> values;
  std::stringstream text(list);
  for (std::string word; std::getline(text, word, ',');) values.push_back(std::atoi(word.c_str()));
  return values;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string word = argv[i];
    if (i + 1 == argc) stop(word + " needs a value");
    const std::string value = argv[i + 1];
    if (word == "--model")
      options.model = value;
    else if (word == "--spec")
      options.specs.push_back(value);
    else if (word == "--clients")
      options.clients = numbers(value);
    else if (word == "--kind" && (value == "free" || value == "quote"))
      options.quote = value == "quote";
    else if (word == "--rounds")
      options.rounds = std::atoi(value.c_str());
    else if (word == "--requests")
      options.requests = std::atoi(value.c_str());
    else if (word == "--tokens")
      options.tokens = std::atoi(value.c_str());
    else if (word == "--threads")
      options.threads = std::atoi(value.c_str());
    else if (word == "--experts")
      options.experts = value;
    else if (word == "--max-model-len")
      options.max_model_len = std::atoi(value.c_str());
    else if (word == "--kv-mib")
      options.kv_mib = std::atoi(value.c_str());
    else if (word == "--time" && (value == "clock" || value == "processor"))
      options.processor_time = value == "processor";
    else
      stop("unknown option " + word + " " + value);
  }
  const bool positive = options.rounds > 0 && options.requests > 0 && options.tokens > 0 && options.kv_mib > 0 &&
                        options.max_model_len >= 0 && !options.clients.empty() &&
                        *std::min_element(options.clients.begin(), options.clients.end()) > 0;
  if (options.model.empty() || options.specs.size() < 3 || !positive) stop("needs --model, --spec, positive numbers");
  return options;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  foregate::set_log_level(foregate::LogLevel::kError);
  const foregate::Options options = foregate::parse(argc, argv);
  foregate::Match match(options);
  for (const std::int32_t clients : options.clients) match.play(clients);
  return 0;
}
