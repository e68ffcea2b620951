#include "server/batch/batch_runner.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "server/batch/line_exchange.h"

namespace foregate {

BatchRunner::BatchRunner(IoLoop& loop, HttpCallbacks callbacks, LineSource& source, BatchOutput& output,
                         BatchOptions options, std::function<void(const Status&)> done)
    : loop_(loop),
      callbacks_(std::move(callbacks)),
      source_(source),
      output_(output),
      options_(options),
      done_(std::move(done)),
      sync_timer_(loop.make_timer()),
      retry_timer_(loop.make_timer()),
      alive_(std::make_shared<bool>(true)) {}

BatchRunner::~BatchRunner() {
  *alive_ = false;
}

void BatchRunner::start() {
  sync_later();
  fill();
}

void BatchRunner::stop() {
  stopping_ = true;
  fill();
}

void BatchRunner::sync_later() {
  sync_timer_->arm(options_.sync_seconds, [this] {
    if (const Status synced = std::exchange(unsynced_, false) ? output_.sync() : Status(); !synced.ok()) {
      return end(synced);
    }
    sync_later();
  });
}

// What was written makes room for lines to read.
void BatchRunner::fill() {
  bool more = true;
  while (done_ && more) {
    if (const Status read = read_lines(); !read.ok()) return end(read);
    const std::size_t before = slots_.size();
    if (const Status written = flush(); !written.ok()) return end(written);
    more = slots_.size() < before && !ended_input_ && !stopping_;
  }
  if (in_flight_ == (stopping_ ? again_.size() : 0) && (stopping_ || (ended_input_ && slots_.empty()))) {
    end(output_.sync());
  }
}

Status BatchRunner::read_lines() {
  while (!ended_input_ && !stopping_ && wants_line()) {
    auto line = source_.next();
    if (!line.ok() && line.status().code() != Code::kInvalidArgument) return line.status();
    ended_input_ = line.ok() && !line->has_value();
    if (ended_input_) break;
    ++position_;
    line.ok() ? take(**line) : take_fault("", line.status());
  }
  while (!stopping_ && in_flight_ < options_.in_flight && !unasked_.empty()) {
    const std::shared_ptr<Slot> slot = next_to_ask();
    slot->asked = true;
    ++in_flight_;
    ask(slot);
  }
  return {};
}

bool BatchRunner::wants_line() const {
  if (slots_.size() >= options_.window || held_bytes_ >= options_.window_bytes) return false;
  return options_.by_beginning || in_flight_ + unasked_.size() < options_.in_flight;
}

BatchRunner::Place BatchRunner::place_of(const Slot& slot) const {
  return {options_.by_beginning ? slot.line.beginning : std::string(), slot.position};
}

std::shared_ptr<BatchRunner::Slot> BatchRunner::next_to_ask() {
  auto next = unasked_.upper_bound(last_asked_);
  if (next == unasked_.end()) next = unasked_.begin();
  const Slot& first = *slots_.front();
  if (2 * held_back_ >= options_.window && !first.asked && first.answer.empty()) next = unasked_.find(place_of(first));
  auto slot = std::move(next->second);
  last_asked_ = next->first;
  unasked_.erase(next);
  return slot;
}

void BatchRunner::keep_answer(Slot& slot, std::string answer) {
  held_bytes_ += answer.size();
  ++held_back_;
  slot.answer = std::move(answer);
}

void BatchRunner::take(const std::string& text) {
  if (text.find_first_not_of(" \t") == std::string::npos) return;
  std::string custom_id;
  auto line = parse_batch_line(text, options_.seed, &custom_id);
  if (!line.ok()) return take_fault(custom_id, line.status());
  if (const auto slot = new_slot(custom_id)) {
    slot->line = std::move(line).value();
    held_bytes_ += slot->bytes();
    unasked_.emplace(place_of(*slot), slot);
  }
}

void BatchRunner::take_fault(const std::string& custom_id, const Status& status) {
  if (const auto slot = new_slot(custom_id)) {
    keep_answer(*slot, batch_fault(position_, custom_id, status));
    ++counts_.faults;
  }
}

// Null when the line has its answer, or is the second of its custom_id.
std::shared_ptr<BatchRunner::Slot> BatchRunner::new_slot(const std::string& custom_id) {
  ++counts_.lines;
  auto slot = std::make_shared<Slot>();
  slot->position = position_;
  slot->key = batch_key(position_, custom_id);
  if (output_.had(slot->key)) return ++counts_.resumed, nullptr;
  if (open_.contains(slot->key) || output_.has(slot->key)) return ++counts_.duplicates, nullptr;
  slots_.push_back(slot);
  open_.insert(slot->key);
  return slot;
}

void BatchRunner::ask(const std::shared_ptr<Slot>& slot) {
  auto exchange =
      std::make_shared<LineExchange>(loop_, slot->line, [this, alive = alive_, slot](const HttpResponse& response) {
        if (*alive) answered(slot, response);
      });
  exchange->request().body = slot->line.body;
  if (auto refused = callbacks_.gate(exchange->request())) return exchange->respond(std::move(*refused));
  callbacks_.handle(std::move(exchange));
}

void BatchRunner::answered(const std::shared_ptr<Slot>& slot, const HttpResponse& response) {
  if (!done_) return;
  if ((response.status == 503 || response.status == 429) && !stopping_) {
    ++counts_.retries;
    again_.push_back(slot);
    retry_timer_->arm(options_.retry_seconds, [this] {
      for (const auto& one : std::exchange(again_, {})) ask(one);
    });
    return;
  }
  --in_flight_;
  if (response.status == 503 || response.status == 429)
    return fill();  // the run stops: this line and those behind it are the next one's
  if (response.status == 200) {
    count_usage(response.body);
  } else {
    ++counts_.faults;
  }
  keep_answer(*slot,
              batch_answer(slot->position, slot->line.custom_id, response.status, response.body, options_.created));
  fill();
}

void BatchRunner::count_usage(std::string_view body) {
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("usage")) return;
  counts_.prompt_tokens += json["usage"].value("prompt_tokens", std::uint64_t{0});
  counts_.completion_tokens += json["usage"].value("completion_tokens", std::uint64_t{0});
}

// In the order of the input: a run that was broken off and taken up again gives the bytes of one that was not.
Status BatchRunner::flush() {
  while (!slots_.empty() && !slots_.front()->answer.empty()) {
    const auto slot = std::move(slots_.front());
    slots_.pop_front();
    open_.erase(slot->key);
    held_bytes_ -= slot->bytes();
    --held_back_;
    RETURN_IF_ERROR(output_.append(slot->key, slot->answer));
    ++counts_.answered;
    unsynced_ = true;
  }
  return {};
}

void BatchRunner::end(Status status) {
  sync_timer_->cancel();
  retry_timer_->cancel();
  if (done_) std::exchange(done_, nullptr)(status);
}

}  // namespace foregate
