// Greedy tokens with speculation are those of plain decoding: every way to draft, in batches of 1 to 32 sequences, with
// whole and cut prompts, shared prefixes, too few KV blocks (recomputed and swapped), and half of the experts on disk,
// against one sequence at a time without any of it. Ends with 1 when a token differs, or when something of this never
// happened.
//
//   spec_exact --model DIR --draft DIR [--nextn DIR] [--tokens N] [--threads N]
//
// N tokens are compared at least; fewer than 20000 leave out the widest batches.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/experts/expert_store.h"
#include "engine/runtime/boot.h"
#include "tests/bench/spec_texts.h"
#include "tools/foregate/queue_sink.h"

namespace foregate {
namespace {

constexpr std::int32_t kMostRequests = 36;  // of one cell: four more than its sequences at a time
constexpr std::int32_t kWaiting = 4;
constexpr std::int32_t kLeastTokens = 12;  // of one answer
constexpr std::int32_t kBlock = 4;

struct Options {
  std::string model;
  std::string draft;
  std::string nextn;  // a NextN layer of the model; empty: that is left out
  std::int64_t tokens = 8000;
  int threads = 2;
};

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "spec_exact: %s\n", why.c_str());
  std::exit(2);
}

template <class T>
T must(Result<T> result) {
  if (!result.ok()) stop(result.status().to_string());
  return std::move(result).value();
}

// All begin the same; half of them go on with a text that they begin to quote, half with the first words of a story.
std::vector<std::vector<Token>> prompts_of(const Tokenizer& tokenizer) {
  std::vector<std::vector<Token>> prompts;
  for (int i = 0; i < kMostRequests; ++i) {
    const std::string own = random_words(static_cast<std::uint64_t>(i), 4 + i % 20);
    std::string text = "Once upon a time there was a little dog who lived in a house by the river. ";
    text += i % 2 == 0 ? own + ". " + own + ". " + own.substr(0, 10) : own;
    prompts.push_back(must(tokenizer.encode(text, {})));
  }
  return prompts;
}

using Answers = std::vector<std::vector<Token>>;

struct Ran {
  Answers answers;
  EngineStats stats;
};

Ran run(const BootOptions& options, std::int32_t tokens, std::int32_t requests, bool one_by_one) {
  QueueSink events;
  const auto booted = must(boot_engine(options));
  auto prompts = prompts_of(*booted->tokenizer());
  prompts.resize(static_cast<std::size_t>(requests));
  const auto sink = std::shared_ptr<EventSink>(std::shared_ptr<void>(), &events);
  Ran ran;
  ran.answers.resize(prompts.size());
  std::size_t ended = 0;
  const auto wait = [&](std::size_t until) {
    while (ended < until) {
      const auto event = events.next(std::chrono::seconds(120));
      if (!event) stop("no token came within two minutes");
      auto& answer = ran.answers[event->request.value - 1];
      answer.insert(answer.end(), event->tokens.begin(), event->tokens.end());
      if (!event->finish) continue;
      if (*event->finish != FinishReason::kLength) stop("a request ended otherwise: " + event->error.to_string());
      ++ended;
    }
  };
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    Request request;
    request.id = RequestId{i + 1};
    request.prompt = prompts[i];
    request.sampling.temperature = 0.0f;
    request.sampling.ignore_eos = true;
    request.sampling.max_tokens = tokens;
    const Status status = booted->engine().submit(std::move(request), sink);
    if (!status.ok()) stop(status.to_string());
    if (one_by_one) wait(i + 1);
  }
  wait(prompts.size());
  ran.stats = booted->engine().stats();
  return ran;
}

// What is done to the sequences beside drafting.
enum class Way { kWhole, kChunked, kPrefixes, kRecomputed, kSwapped, kExperts, kAll };
constexpr const char* kWayNames[] = {"whole prompts",       "cut prompts",     "shared prefixes", "few blocks",
                                     "few blocks, swapped", "experts on disk", "all at once"};

BootOptions base(const Options& options) {
  BootOptions boot;
  boot.model = options.model;
  boot.threads = options.threads;
  boot.block_size = kBlock;
  boot.max_num_queued_reqs = kMostRequests;
  boot.prefix_caching = false;
  return boot;
}

void apply(Way way, std::int32_t longest, BootOptions& boot) {
  const bool all = way == Way::kAll;
  if (way == Way::kChunked || all) boot.max_num_batched_tokens = std::max(11, boot.max_num_seqs + 6);
  if (way == Way::kPrefixes || all) boot.prefix_caching = true;
  if (way == Way::kRecomputed || way == Way::kSwapped || all) boot.num_blocks = 2 * (longest / kBlock + 2);
  if (way == Way::kSwapped) boot.preemption_mode = "swap";
  if (way == Way::kExperts || all) boot.expert_memory = "50%";
}

struct Drafting {
  const char* name;
  std::string config;
  bool in_memory = false;  // it needs all experts there
};

std::vector<Drafting> draftings(const Options& options) {
  std::vector<Drafting> ways = {
      {"ngram", R"({"method": "ngram", "adaptive": false, "prompt_lookup_min": 1, "prompt_lookup_max": 3})"},
      {"suffix", R"({"method": "suffix", "adaptive": false, "suffix_decoding_max_spec_factor": 4})"},
      {"draft model", R"({"method": "draft_model", "adaptive": false, "model": ")" + options.draft + "\"}"},
      {"self", R"({"method": "self", "adaptive": false, "num_experts": 1})", true}};
  const std::string tree = R"(, "speculative_token_tree": "[(0,), (1,), (2,), (0,0), (0,1), (1,0), (0,0,0)]"})";
  const auto branching = [&](const char* name, std::string config) {
    config.pop_back();
    ways.push_back({name, config + tree});
  };
  branching("ngram tree", ways[0].config);
  branching("suffix tree", ways[1].config);
  branching("draft model tree", ways[2].config);
  if (kEvictAtRelease) std::erase_if(ways, [](const Drafting& way) { return way.in_memory; });
  if (!options.nextn.empty()) {
    ways.push_back({"mtp", R"({"method": "mtp", "adaptive": false, "num_speculative_tokens": 3, "model": ")" +
                               options.nextn + "\"}"});
  }
  return ways;
}

struct Sums {
  std::int64_t tokens = 0, differing = 0;
  std::uint64_t drafted = 0, accepted = 0, batched = 0, chunked = 0, prefix_hits = 0, preempted = 0, swapped = 0,
                evictions = 0, trees = 0, branches = 0, moved = 0;

  void add(const Ran& ran, const Answers& expected) {
    for (std::size_t i = 0; i < ran.answers.size(); ++i) {
      for (std::size_t k = 0; k < expected[i].size(); ++k, ++tokens) {
        differing += k >= ran.answers[i].size() || ran.answers[i][k] != expected[i][k] ? 1 : 0;
      }
    }
    drafted += ran.stats.speculation->draft_tokens;
    accepted += ran.stats.speculation->accepted_tokens;
    batched += ran.stats.batched_steps;
    chunked += ran.stats.chunked_prefills;
    prefix_hits += ran.stats.prefix_hits;
    preempted += ran.stats.preemptions;
    swapped += ran.stats.swaps_out;
    trees += ran.stats.speculation->trees;
    branches += ran.stats.speculation->branches_accepted;
    moved += ran.stats.speculation->positions_moved;
    evictions += ran.stats.experts ? ran.stats.experts->evictions : 0;
  }
  bool all_happened() const {
    return accepted > 0 && accepted < drafted && batched > 0 && chunked > 0 && prefix_hits > 0 && preempted > 0 &&
           swapped > 0 && evictions > 0 && branches > 0 && branches < trees;
  }
  void print(const char* name) const {
    std::printf("%-20s %9lld %9lld %9llu %9llu\n", name, static_cast<long long>(tokens),
                static_cast<long long>(differing), static_cast<unsigned long long>(drafted),
                static_cast<unsigned long long>(accepted));
  }
};

int compare(const Options& options) {
  const std::vector<std::int32_t> widths =
      options.tokens < 20'000 ? std::vector<std::int32_t>{1, 4, 8} : std::vector<std::int32_t>{1, 2, 4, 8, 16, 32};
  const std::vector<Drafting> ways_to_draft = draftings(options);
  std::int64_t requests = 0;
  for (const std::int32_t width : widths) requests += width + kWaiting;
  requests *= static_cast<std::int64_t>(ways_to_draft.size() * std::size(kWayNames));
  const auto tokens = std::max(kLeastTokens, static_cast<std::int32_t>(options.tokens / requests + 1));
  BootOptions plain = base(options);
  plain.max_num_seqs = 1;
  const Answers expected = run(plain, tokens, widths.back() + kWaiting, true).answers;
  std::int32_t longest = 0;
  {
    const auto booted = must(boot_engine(plain));
    for (const auto& prompt : prompts_of(*booted->tokenizer())) {
      longest = std::max(longest, static_cast<std::int32_t>(prompt.size()) + tokens);
    }
  }
  std::printf("%-20s %9s %9s %9s %9s\n", "", "tokens", "differing", "drafted", "accepted");
  Sums all;
  std::map<std::string, Sums> by_way;
  for (const Drafting& drafting : ways_to_draft) {
    Sums sums;
    for (std::size_t way = 0; way < std::size(kWayNames); ++way) {
      for (const std::int32_t width : widths) {
        BootOptions boot = base(options);
        boot.max_num_seqs = width;
        boot.speculative_config = drafting.config;
        apply(static_cast<Way>(way), longest, boot);
        if (drafting.in_memory) boot.expert_memory = "all";
        const Ran ran = run(boot, tokens, width + kWaiting, false);
        for (Sums* const into : {&sums, &all, &by_way[kWayNames[way]]}) into->add(ran, expected);
      }
    }
    sums.print(drafting.name);
  }
  for (const auto& [name, sums] : by_way) sums.print(name.c_str());
  all.print("all");
  std::printf(
      "batched steps %llu, cut prompts %llu, prefix blocks found %llu, preempted %llu, of them swapped %llu, "
      "experts evicted %llu, trees %llu, other branches taken %llu, positions moved %llu\n",
      static_cast<unsigned long long>(all.batched), static_cast<unsigned long long>(all.chunked),
      static_cast<unsigned long long>(all.prefix_hits), static_cast<unsigned long long>(all.preempted),
      static_cast<unsigned long long>(all.swapped), static_cast<unsigned long long>(all.evictions),
      static_cast<unsigned long long>(all.trees), static_cast<unsigned long long>(all.branches),
      static_cast<unsigned long long>(all.moved));
  if (!all.all_happened()) std::printf("something of this never happened\n");
  return all.differing == 0 && all.all_happened() ? 0 : 1;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string word = argv[i];
    if (i + 1 == argc) stop(word + " needs a value");
    const std::string value = argv[i + 1];
    if (word == "--model")
      options.model = value;
    else if (word == "--draft")
      options.draft = value;
    else if (word == "--nextn")
      options.nextn = value;
    else if (word == "--tokens")
      options.tokens = std::atoll(value.c_str());
    else if (word == "--threads")
      options.threads = std::atoi(value.c_str());
    else
      stop("unknown option " + word);
  }
  if (options.model.empty() || options.draft.empty() || options.tokens < 1) stop("needs --model, --draft, --tokens");
  return options;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  foregate::set_log_level(foregate::LogLevel::kError);
  return foregate::compare(foregate::parse(argc, argv));
}
