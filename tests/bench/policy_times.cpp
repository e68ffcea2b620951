// Job completion times of fcfs and mlfq in a simulation of time: the real policies and the real planner, steps that
// take what steps with so many rows were measured to take, and nothing else on the machine. Poisson arrivals; lengths
// of answers heavy-tailed. The load is the share of the tokens a second that full steps give. Prints for each
// distribution and load the medians over rounds of fcfs over mlfq at the mean, the 99th percentile and the longest job,
// and how many of the rounds had both of the first two at 2 or more.
//
//   policy_times [JOBS [ROUNDS]]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/base/rng.h"
#include "engine/kv/block_pool.h"
#include "engine/sched/policy.h"
#include "engine/sched/scheduler.h"

namespace foregate {
namespace {

constexpr std::int32_t kWidth = 4;  // sequences in a step
constexpr std::int32_t kPrompt = 12;

// Microseconds of a step with so many rows: models/demo, one thread (tests/bench/README.md).
double step_us(std::int32_t rows) {
  constexpr std::pair<double, double> kMeasured[] = {{1, 365}, {2, 548}, {4, 1029}, {8, 1914}, {16, 3032}};
  const double n = rows;
  for (std::size_t i = 1; i < std::size(kMeasured); ++i) {
    const auto [low, at_low] = kMeasured[i - 1];
    const auto [high, at_high] = kMeasured[i];
    if (n <= high || i + 1 == std::size(kMeasured)) return at_low + (at_high - at_low) * (n - low) / (high - low);
  }
  return 0;
}

struct Job {
  double arrives = 0;  // microseconds
  std::int32_t output = 1;
  std::int32_t made = 0, computed = 0, reached = 0, blocks = 0;
  bool running = false;
  MlfqState mlfq;
  double done = 0;
};

// Times from arrival to end, by job.
std::vector<double> serve(std::vector<Job> jobs, const PolicyOptions& policy) {
  SchedLimits limits;
  limits.max_num_seqs = kWidth;
  limits.max_num_batched_tokens = 64;
  limits.ranked = takes_from_running(policy.kind);
  std::vector<std::size_t> here;  // by arrival
  std::size_t next = 0;
  std::int64_t step = 0;
  double now = 0;
  for (Job& job : jobs) job.mlfq = mlfq_joined(policy.mlfq, kPrompt);
  while (next < jobs.size() || !here.empty()) {
    if (here.empty()) now = std::max(now, jobs[next].arrives);
    while (next < jobs.size() && jobs[next].arrives <= now) here.push_back(next++);
    std::vector<PolicyView> shown;
    for (const std::size_t i : here) {
      PolicyView view;
      view.id = SeqId{i + 1};
      view.mlfq = jobs[i].mlfq;
      view.running = jobs[i].running;
      shown.push_back(view);
    }
    std::vector<SeqView> running, waiting;
    std::int32_t rank = 0;
    for (const std::size_t at : policy_order(policy, shown, {})) {
      const Job& job = jobs[here[at]];
      SeqView view;
      view.id = shown[at].id;
      view.tokens = kPrompt + job.made;
      view.computed = job.computed;
      view.blocks = job.blocks;
      view.max_blocks = blocks_for(kPrompt + job.output - 1, 16);
      view.rank = rank++;
      (job.running ? running : waiting).push_back(view);
    }
    PlanInput input;
    input.running = running;
    input.waiting = waiting;
    input.free_blocks = 1 << 28;  // memory is no part of this
    input.block_size = 16;
    const BatchPlan plan = plan_step(input, limits);
    now += step_us(plan.rows);
    ++step;
    std::vector<std::size_t> ran;
    for (const PlanEntry& entry : plan.entries) {
      const std::size_t i = entry.seq.value - 1;
      Job& job = jobs[i];
      ran.push_back(i);
      job.running = true;
      job.blocks += entry.new_blocks;
      job.computed = entry.first_position + entry.rows;
      job.mlfq = mlfq_ran(policy.mlfq, job.mlfq, std::max(0, job.computed - job.reached));
      job.reached = std::max(job.reached, job.computed);
      if (entry.samples && ++job.made == job.output) job.done = now;
    }
    for (const std::size_t i : here) {
      const bool passed = std::ranges::find(ran, i) == ran.end();
      if (passed && policy.kind == PolicyKind::kMlfq) jobs[i].mlfq = mlfq_skipped(policy.mlfq, jobs[i].mlfq, step);
    }
    std::erase_if(here, [&](std::size_t i) { return jobs[i].done > 0; });
  }
  std::vector<double> times;
  for (const Job& job : jobs) times.push_back(job.done - job.arrives);
  return times;
}

struct Lengths {
  std::string name;
  std::function<double(double, double)> draw;  // from two uniform numbers
};

double pareto(double u, double alpha, double low, double high) {
  const double a = std::pow(low, -alpha), b = std::pow(high, -alpha);
  return std::pow(a - u * (a - b), -1 / alpha);
}

double log_normal(double u, double v, double median, double sigma, double most) {
  const double normal = std::sqrt(-2 * std::log(std::max(u, 1e-12))) * std::cos(2 * 3.14159265358979 * v);
  return std::clamp(median * std::exp(sigma * normal), 1.0, most);
}

double percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values[std::min(values.size() - 1, static_cast<std::size_t>(share * static_cast<double>(values.size())))];
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

void compare(const Lengths& lengths, double load, int count, int rounds, const MlfqOptions& options) {
  std::vector<double> means, tails, longest, worst, best_mean, best_tail;
  int both = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto seed = static_cast<std::uint64_t>(round) + 1;
    std::vector<Job> jobs(static_cast<std::size_t>(count));
    double tokens = 0;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      jobs[i].output = std::max(
          1, static_cast<std::int32_t>(std::lround(lengths.draw(uniform01(seed, 1, i), uniform01(seed, 2, i)))));
      tokens += jobs[i].output + kPrompt;
    }
    const double job_us = tokens / static_cast<double>(count) * step_us(kWidth) / kWidth;
    double at = 0;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      at -= std::log(1 - uniform01(seed, 3, i)) * job_us / load;
      jobs[i].arrives = at;
    }
    PolicyOptions fcfs, mlfq;
    mlfq.kind = PolicyKind::kMlfq;
    mlfq.mlfq = options;
    const auto slow = serve(jobs, fcfs), quick = serve(jobs, mlfq);
    means.push_back(mean(slow) / mean(quick));
    tails.push_back(percentile(slow, 0.99) / percentile(quick, 0.99));
    longest.push_back(*std::ranges::max_element(slow) / *std::ranges::max_element(quick));
    double most = 0;
    std::vector<double> alone;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      alone.push_back(step_us(kPrompt) + (jobs[i].output - 1) * step_us(1));
      most = std::max(most, quick[i] / alone.back());
    }
    best_mean.push_back(mean(slow) / mean(alone));
    best_tail.push_back(percentile(slow, 0.99) / percentile(alone, 0.99));
    worst.push_back(most);
    both += means.back() >= 2 && tails.back() >= 2 ? 1 : 0;
  }
  std::printf("| %s | %.2f | %d | %.2f | %.2f | %.2f | %.1f, %.1f | %.0f | %d of %d |\n", lengths.name.c_str(), load,
              count, percentile(means, 0.5), percentile(tails, 0.5), percentile(longest, 0.5),
              percentile(best_mean, 0.5), percentile(best_tail, 0.5), percentile(worst, 0.5), both, rounds);
  std::fflush(stdout);
}

int bench(int argc, char** argv) {
  const int count = argc > 1 ? std::max(1, std::atoi(argv[1])) : 600;
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 11;
  MlfqOptions options;
  if (argc > 3) options.quantum = std::max(1, std::atoi(argv[3]));
  if (argc > 4) options.promote_after = std::max(1, std::atoi(argv[4]));
  const Lengths all[] = {
      {"two: 0.5 % 1900, else 16", [](double u, double) { return u < 0.005 ? 1900.0 : 16.0; }},
      {"two: 0.8 % 1900, else 16", [](double u, double) { return u < 0.008 ? 1900.0 : 16.0; }},
      {"Pareto 1.0, 16 to 1900", [](double u, double) { return pareto(u, 1.0, 16, 1900); }},
      {"Pareto 1.1, 4 to 1500", [](double u, double) { return pareto(u, 1.1, 4, 1500); }},
      {"Pareto 1.5, 16 to 1900", [](double u, double) { return pareto(u, 1.5, 16, 1900); }},
      {"log-normal, median 100, sigma 1.2, to 2000",
       [](double u, double v) { return log_normal(u, v, 100, 1.2, 2000); }},
  };
  std::printf("| answers | load | jobs | mean | p99 | longest | at best: mean, p99 | worst slowdown | both 2 |\n");
  std::printf("|---|---|---|---|---|---|---|---|---|\n");
  for (const Lengths& lengths : all) {
    for (const double load : {0.8, 0.9, 1.0, 1.2, 1.5}) compare(lengths, load, count, rounds, options);
  }
  return 0;
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  return foregate::bench(argc, argv);
}
