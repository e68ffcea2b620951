// Deficit longest-prefix match (arXiv 2501.14312): among the requests of clients that have credit left, the one with
// the longest known prefix goes first, so that prefixes are used while they are there; what a client gets is taken
// from its credit, and when nobody who waits has credit, everybody who waits gets a quantum. Pure; any thread.
//
// The bound: a client is admitted only with credit above 0, gets at most one quantum at a time and pays what it takes.
// While two clients both wait, the work they were given differs by at most 2 * (quantum + the largest single charge).
#pragma once

#include <cstdint>
#include <map>
#include <span>

namespace foregate {

struct DlpmOptions {
  std::int64_t quantum = 2048;         // of work a client gets at a time
  std::int64_t prompt_token_cost = 1;  // of a prompt token that is computed; known ones cost nothing
  std::int64_t output_token_cost = 2;
  std::int32_t look_ahead = 64;  // so many are put in order, the rest follows by arrival
};

// Credit of each client; who is not in it has none and owes nothing.
struct DlpmBook {
  std::map<std::uint64_t, std::int64_t> credit;
  std::int64_t of(std::uint64_t client) const {
    const auto it = credit.find(client);
    return it == credit.end() ? 0 : it->second;
  }
};

// Quanta for all of `clients`, as many as it takes until one of them has credit; returns how many that was.
std::int64_t dlpm_refill(const DlpmOptions& options, std::span<const std::uint64_t> clients, DlpmBook& book);
void dlpm_charge(std::uint64_t client, std::int64_t cost, DlpmBook& book);
// Forgets the credit of clients that have nothing here any more (`present`, ascending, have): who comes back later has
// saved nothing up. Debts stay until nobody is left, or there are too many of them.
void dlpm_forget(std::span<const std::uint64_t> present, DlpmBook& book);

}  // namespace foregate
