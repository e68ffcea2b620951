#include "engine/runtime/live_requests.h"

#include <algorithm>
#include <string>
#include <utility>

namespace foregate {

Status LiveRequests::open(RequestId id, std::int32_t n) {
  std::lock_guard lock(mutex_);
  if (entries_.contains(id)) return invalid_argument("this request id is in use", "id");
  if (n > max_samples_) {
    return invalid_argument(
        "n is " + std::to_string(n) + ", more than the " + std::to_string(max_samples_) + " samples held at once", "n");
  }
  if (samples_ + n > max_samples_) {
    return resource_exhausted("the queue is full: " + std::to_string(samples_) + " of " + std::to_string(max_samples_) +
                              " places are taken");
  }
  Entry entry;
  entry.n = entry.left = n;
  entries_.emplace(id, std::move(entry));
  samples_ += n;
  return {};
}

void LiveRequests::close_sample(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto it = entries_.find(id);
  if (BUG_IF(it == entries_.end())) return;
  --samples_;
  if (--it->second.left == 0) entries_.erase(it);
}

void LiveRequests::abandon(RequestId id) {
  std::lock_guard lock(mutex_);
  const auto it = entries_.find(id);
  if (BUG_IF(it == entries_.end())) return;
  samples_ -= it->second.left;
  entries_.erase(it);
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
