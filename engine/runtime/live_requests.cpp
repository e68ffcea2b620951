#include "engine/runtime/live_requests.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/api/client_share.h"

namespace foregate {

Status LiveRequests::open(RequestId id, std::int32_t n, std::int64_t prompt_tokens, std::uint64_t client) {
  std::lock_guard lock(mutex_);
  if (entries_.contains(id)) return invalid_argument("this request id is in use", "id");
  RETURN_IF_ERROR(admit(n, n * prompt_tokens, client));
  Entry entry;
  entry.n = entry.left = entry.queued = n;
  entry.prompt_tokens = prompt_tokens;
  entry.client = client;
  entries_.emplace(id, std::move(entry));
  samples_ += n;
  figures_.queued_tokens += n * prompt_tokens;
  if (client != 0) by_client_[client] += n;
  return {};
}

Status LiveRequests::check_room(std::uint64_t client) {
  std::lock_guard lock(mutex_);
  return admit(1, 1, client);
}

Status LiveRequests::admit(std::int32_t n, std::int64_t tokens, std::uint64_t client) {
  const std::int64_t places = limits_.max_samples;
  if (n > places) {
    return invalid_argument(
        "n is " + std::to_string(n) + ", more than the " + std::to_string(places) + " samples held at once", "n");
  }
  if (samples_ + n > places) {
    ++figures_.refused_full;
    return resource_exhausted("the queue is full: " + std::to_string(samples_) + " of " + std::to_string(places) +
                              " places are taken");
  }
  if (client != 0) {
    const auto found = by_client_.find(client);
    const std::int64_t held = found == by_client_.end() ? 0 : found->second;
    const std::int64_t share = std::max<std::int64_t>(1, places * limits_.max_client_share / 100);
    if (held + n > share) {
      ++figures_.refused_share;
      return {Code::kResourceExhausted,
              "this client holds " + std::to_string(held) + " places; its share is " + std::to_string(share) + " of " +
                  std::to_string(places),
              kClientShareField};
    }
  }
  const std::int64_t queued = figures_.queued_tokens;
  if (limits_.max_queued_tokens > 0 && queued > 0 && queued + tokens > limits_.max_queued_tokens) {
    ++figures_.refused_tokens;
    return resource_exhausted("the queue is full: " + std::to_string(queued) +
                              " prompt tokens wait, and no more than " + std::to_string(limits_.max_queued_tokens) +
                              " may");
  }
  return {};
}

void LiveRequests::unqueue(Entry& entry, std::int32_t samples) {
  entry.queued -= samples;
  figures_.queued_tokens -= samples * entry.prompt_tokens;
}

void LiveRequests::leave(const Entry& entry, std::int32_t samples) {
  samples_ -= samples;
  if (entry.client == 0) return;
  const auto held = by_client_.find(entry.client);
  if (!BUG_IF(held == by_client_.end()) && (held->second -= samples) <= 0) by_client_.erase(held);
}

void LiveRequests::begin_sample(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto it = entries_.find(id);
  if (BUG_IF(it == entries_.end() || it->second.queued <= 0)) return;
  unqueue(it->second, 1);
}

void LiveRequests::close_sample(RequestId id, bool began) {
  std::lock_guard lock(mutex_);
  const auto it = entries_.find(id);
  if (BUG_IF(it == entries_.end())) return;
  Entry& entry = it->second;
  leave(entry, 1);
  --entry.left;
  if (!began && !BUG_IF(entry.queued <= 0)) unqueue(entry, 1);
  if (entry.left == 0) entries_.erase(it);
}

void LiveRequests::abandon(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto it = entries_.find(id);
  if (BUG_IF(it == entries_.end())) return;
  unqueue(it->second, it->second.queued);
  leave(it->second, it->second.left);
  entries_.erase(it);
}

LedgerFigures LiveRequests::figures() const {
  std::lock_guard lock(mutex_);
  return figures_;
}

LiveRequests::Entry* LiveRequests::touch(RequestId id) {
  const auto it = entries_.find(id);
  if (it == entries_.end()) return nullptr;
  Entry& entry = it->second;
  if (!entry.touched) {
    entry.touched = true;
    entry.control = Control{};
    entry.control.request = id;
    touched_.push_back(id);
  }
  return &entry;
}

bool LiveRequests::cancel(RequestId id) {
  std::lock_guard lock(mutex_);
  Entry* entry = touch(id);
  if (entry != nullptr) entry->control.cancel_all = true;
  return entry != nullptr;
}

bool LiveRequests::cancel(RequestId id, std::int32_t index) {
  std::lock_guard lock(mutex_);
  const auto it = entries_.find(id);
  if (it == entries_.end() || index < 0 || index >= it->second.n) return false;
  std::vector<std::int32_t>& cancelled = touch(id)->control.cancelled;
  if (std::find(cancelled.begin(), cancelled.end(), index) == cancelled.end()) cancelled.push_back(index);
  return true;
}

bool LiveRequests::set_paused(RequestId id, bool paused) {
  std::lock_guard lock(mutex_);
  Entry* entry = touch(id);
  if (entry != nullptr) entry->control.paused = paused;
  return entry != nullptr;
}

std::vector<Control> LiveRequests::take_controls() {
  std::lock_guard lock(mutex_);
  std::vector<Control> controls;
  for (RequestId id : touched_) {
    const auto it = entries_.find(id);
    if (it == entries_.end() || !it->second.touched) continue;
    it->second.touched = false;
    controls.push_back(std::move(it->second.control));
  }
  touched_.clear();
  return controls;
}

void LiveRequests::put_back(Control control) {
  std::lock_guard lock(mutex_);
  Entry* entry = touch(control.request);
  if (entry == nullptr) return;
  Control& now = entry->control;
  now.cancel_all = now.cancel_all || control.cancel_all;
  for (std::int32_t index : control.cancelled) {
    if (std::find(now.cancelled.begin(), now.cancelled.end(), index) == now.cancelled.end()) {
      now.cancelled.push_back(index);
    }
  }
  if (!now.paused) now.paused = control.paused;
}

std::int64_t LiveRequests::samples() const {
  std::lock_guard lock(mutex_);
  return samples_;
}

}  // namespace foregate
