#include "engine/sched/policy_dlpm.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "engine/sched/policy.h"

namespace foregate {
namespace {

constexpr std::size_t kMostClients = 4096;  // whose debts are remembered once they are gone

// The best to admit next of those left, by prefix; none when no client has credit.
std::vector<std::size_t>::iterator longest_prefix(std::span<const PolicyView> views, const DlpmBook& book,
                                                  std::vector<std::size_t>& left) {
  auto best = left.end();
  for (auto it = left.begin(); it != left.end(); ++it) {
    if (book.of(views[*it].client) <= 0) continue;
    if (best == left.end() || views[*it].known > views[*best].known) best = it;
  }
  return best;
}

}  // namespace

std::int64_t dlpm_refill(const DlpmOptions& options, std::span<const std::uint64_t> clients, DlpmBook& book) {
  if (clients.empty()) return 0;
  std::int64_t richest = std::numeric_limits<std::int64_t>::min();
  for (std::uint64_t client : clients) richest = std::max(richest, book.of(client));
  if (richest > 0) return 0;
  const std::int64_t rounds = -richest / options.quantum + 1;
  for (std::uint64_t client : clients) book.credit[client] += rounds * options.quantum;
  return rounds;
}

void dlpm_charge(std::uint64_t client, std::int64_t cost, DlpmBook& book) {
  book.credit[client] -= cost;
}

void dlpm_forget(std::span<const std::uint64_t> present, DlpmBook& book) {
  const bool crowded = book.credit.size() > kMostClients;
  std::erase_if(book.credit, [&](const auto& entry) {
    const bool here = std::ranges::binary_search(present, entry.first);
    return !here && (entry.second >= 0 || present.empty() || crowded);
  });
}

std::vector<std::size_t> dlpm_order(std::span<const PolicyView> views, const DlpmOptions& options, DlpmBook book) {
  std::vector<std::size_t> order;
  std::vector<std::size_t> left;  // by arrival
  for (std::size_t i : fcfs_order(views)) {
    (views[i].running ? order : left).push_back(i);
  }
  // Who cannot be admitted comes last and takes nothing.
  const auto idle = std::stable_partition(left.begin(), left.end(), [&](std::size_t i) { return !views[i].paused; });
  const std::vector<std::size_t> last(idle, left.end());
  left.erase(idle, left.end());
  // Who was admitted before has paid for it.
  const auto paid =
      std::stable_partition(left.begin(), left.end(), [&](std::size_t i) { return views[i].was_preempted; });
  order.insert(order.end(), left.begin(), paid);
  left.erase(left.begin(), paid);
  const std::size_t look_at = order.size() + static_cast<std::size_t>(options.look_ahead);
  while (!left.empty() && order.size() < look_at) {
    auto next = longest_prefix(views, book, left);
    if (next == left.end()) {
      std::vector<std::uint64_t> clients;
      for (std::size_t i : left) clients.push_back(views[i].client);
      std::ranges::sort(clients);
      clients.erase(std::unique(clients.begin(), clients.end()), clients.end());
      dlpm_refill(options, clients, book);
      next = longest_prefix(views, book, left);
    }
    const PolicyView& chosen = views[*next];
    order.push_back(*next);
    const std::int64_t fresh = std::max(1, chosen.tokens - chosen.known);
    dlpm_charge(chosen.client, options.prompt_token_cost * fresh, book);
    left.erase(next);
  }
  order.insert(order.end(), left.begin(), left.end());
  order.insert(order.end(), last.begin(), last.end());
  return order;
}

}  // namespace foregate
