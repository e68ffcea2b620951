#include "tests/sim/ledger.h"

#include <algorithm>
#include <utility>

namespace foregate::sim {

Client::Client(Ledger& in, Request made) : ledger(in), request(std::move(made)), sent(in.turn) {
  samples.resize(static_cast<std::size_t>(request.n));
}

bool Client::live() const {
  return std::ranges::any_of(samples, [](const Sample& sample) { return !sample.finished; });
}

void Client::on_event(TokenEvent event) {
  Sample& sample = samples.at(static_cast<std::size_t>(event.index));
  ledger.note(request.id.value * 31 + static_cast<std::uint64_t>(event.index));
  for (Token token : event.tokens) ledger.note(static_cast<std::uint64_t>(token) + 1000);
  if (event.finish) ledger.note(static_cast<std::uint64_t>(*event.finish) + 2000);
  const Plant plant = ledger.plant();
  if (plant == Plant::kTokenLost && sample.got.size() == 3 && !event.tokens.empty())
    event.tokens.erase(event.tokens.begin());
  if (plant == Plant::kTokenDoubled && sample.got.size() == 3 && !event.tokens.empty())
    event.tokens.push_back(event.tokens.back());
  if (plant == Plant::kFinishLost && sample.got.size() > 4) event.finish.reset();
  take(event, sample);
  if (plant == Plant::kSecondFinish && event.finish && sample.got.size() > 4) take(event, sample);
}

void Client::take(const TokenEvent& event, Sample& sample) {
  if (event.request != request.id) return ledger.broke("an event of another request");
  if (sample.finished) return ledger.broke("an event after the finish");
  if (sample.got.empty() && !event.tokens.empty() && event.cached_tokens > ledger.most_cached(*this, sample)) {
    ledger.broke("more tokens from the cache than this tenant ever had in common");
  }
  for (Token token : event.tokens) {
    const std::size_t at = sample.got.size();
    if (at >= sample.want.tokens.size()) return ledger.broke("a token after the last one");
    if (sample.want.tokens[at] != token) return ledger.broke("another token than the request alone is given");
    sample.got.push_back(token);
    ++buffered;
  }
  if (event.finish) judge_finish(event, sample);
}

void Client::judge_finish(const TokenEvent& event, Sample& sample) {
  sample.finished = true;
  ledger.ended();
  const Answer& want = sample.want;
  const Code code = event.error.code();
  const bool whole = sample.got.size() == want.tokens.size();
  switch (*event.finish) {
    case FinishReason::kStop:
    case FinishReason::kLength:
      if (!whole || *event.finish != want.finish || event.stop_token != want.stop_token) {
        ledger.broke("an answer that ends elsewhere than it does alone");
      }
      return;
    case FinishReason::kCancelled:
      if (sample.cancelled == kNever && !ledger.engine_ends) ledger.broke("cancelled, and nobody asked for it");
      return;
    case FinishReason::kError: break;
  }
  const bool own = want.finish == FinishReason::kError && whole && code == want.error;
  const bool late =
      code == Code::kDeadlineExceeded && request.deadline != 0 && ledger.clock().now() >= request.deadline;
  const bool row = code == Code::kDataLoss && sample.may_lose_row;
  if (code == Code::kResourceExhausted && ledger.in_step()) ledger.step_ends(event.error);  // no memory for its logits
  const bool failed = sample.failed_steps >= 2 || ledger.engine_failed;
  if (!own && !late && !row && !failed) ledger.broke("an error without a reason: " + event.error.to_string());
}

void Ledger::broke(std::string what) {
  if (first_break_.empty()) first_break_ = "turn " + std::to_string(turn) + ": " + std::move(what);
}

std::shared_ptr<Client> Ledger::add(Request request) {
  return std::make_shared<Client>(*this, std::move(request));
}

void Ledger::accept(const std::shared_ptr<Client>& client) {
  for (std::size_t i = 0; i < client->samples.size(); ++i) {
    client->samples[i].want = answer_of(client->request, static_cast<std::int32_t>(i));
  }
  clients_.push_back(client);
  by_request_[client->request.id.value] = client.get();
  for (Sample& sample : client->samples) by_seq_.push_back({client.get(), &sample});
  accepted_ += client->request.n;
}

Ledger::Who Ledger::of(SeqId id) const {
  if (id.value == 0 || id.value > by_seq_.size()) return {};
  return by_seq_[id.value - 1];
}

Client* Ledger::of_request(std::uint64_t id) const {
  const auto found = by_request_.find(id);
  return found == by_request_.end() ? nullptr : found->second;
}

void Ledger::step_begins(const BatchPlan& plan) {
  plan_ = plan;
  in_step_ = !plan.empty();
  for (const PlanEntry& entry : plan.entries) {
    const Who who = of(entry.seq);
    if (who.sample == nullptr) return broke("a step for a sequence that nobody sent");
    who.sample->begun = true;
    who.sample->may_lose_row = false;
  }
}

void Ledger::step_ends(const Status& how) {
  in_step_ = false;
  if (how.ok()) fatal_in_a_row_ = 0;
  const bool drafts = std::ranges::any_of(plan_.entries, [](const PlanEntry& entry) { return entry.draft > 0; });
  failed_steps += how.ok() ? 0 : 1;
  if (!how.ok() && drafts) return;  // they may be the cause: held against nobody
  const bool unreadable = how.code() == Code::kDataLoss || how.code() == Code::kUnavailable;
  if (!how.ok() && !unreadable && ++fatal_in_a_row_ >= max_fatal_steps) engine_failed = true;
  for (const PlanEntry& entry : plan_.entries) {
    Sample& sample = *of(entry.seq).sample;
    sample.suspect = !how.ok();
    sample.failed_steps += how.ok() ? 0 : 1;
  }
}

std::int32_t Ledger::most_cached(const Client& client, const Sample& its) const {
  const std::vector<Token>& prompt = client.request.prompt;
  std::size_t most = 0;
  for (const auto& other : clients_) {
    if (other->request.cache_salt != client.request.cache_salt) continue;
    for (const Sample& sample : other->samples) {
      if (!sample.begun || &sample == &its) continue;
      std::vector<Token> history = other->request.prompt;
      history.insert(history.end(), sample.got.begin(), sample.got.end());
      const auto [a, b] = std::ranges::mismatch(prompt, history);
      most = std::max(most, static_cast<std::size_t>(a - prompt.begin()));
    }
  }
  return static_cast<std::int32_t>(std::min(most, prompt.size() - 1));
}

}  // namespace foregate::sim
