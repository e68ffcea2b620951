#include "server/generate/generation.h"

#include <algorithm>
#include <utility>

namespace foregate {

// Carries events from the engine thread to the loop. The last reference to the generation is
// always dropped on the loop.
class Generation::Sink final : public EventSink {
 public:
  Sink(std::shared_ptr<Generation> generation, std::size_t prompt)
      : mail_(generation->start_.mail), generation_(std::move(generation)), prompt_(prompt) {}
  ~Sink() override { mail_->release(std::move(generation_)); }
  void on_event(TokenEvent event) override { mail_->put(generation_, prompt_, std::move(event)); }

 private:
  std::shared_ptr<EventMail> mail_;
  std::shared_ptr<Generation> generation_;
  std::size_t prompt_;
};

Generation::Generation(GenerationStart start, std::function<void(Generation*)> on_end)
    : start_(std::move(start)), on_end_(std::move(on_end)) {
  const ApiRequest& request = *start_.request;
  SampleOptions options;
  options.stop = request.stop;
  options.include_stop = request.include_stop;
  options.skip_special_tokens = request.skip_special_tokens;
  options.shown_specials = request.shown_specials;
  options.reply = request.reply;
  options.min_tokens = request.sampling.min_tokens;
  open_samples_ = request.prompts.size() * static_cast<std::size_t>(request.n);
  samples_.reserve(open_samples_);
  for (std::size_t i = 0; i < open_samples_; ++i) samples_.emplace_back(*start_.served->tokenizer, options);
  cached_tokens_.assign(request.prompts.size(), -1);
}

void Generation::start() {
  if (!start_.answer->open()) return end(Status(Code::kCancelled, "the client left"));
  submitted_at_ = start_.loop.clock().now();
  const bool taken = submit();
  start_.mail = nullptr;  // the sinks have it: it may hold this
  if (taken) start_.answer->begin(shared_from_this());
}

bool Generation::submit() {
  const ApiRequest& asked = *start_.request;
  for (std::size_t i = 0; i < asked.prompts.size(); ++i) {
    Request request;
    request.id = request_id(i);
    request.prompt = asked.prompts[i];
    request.sampling = asked.sampling;
    request.n = asked.n;
    request.cache_salt = asked.cache_salt;
    request.client = start_.client;
    request.priority = asked.priority;
    request.constraint = asked.constraint;
    request.progress = asked.stream && asked.return_progress;
    request.prompt_logprobs = asked.prompt_logprobs;
    const bool echoed = asked.echo && asked.kind == ApiKind::kCompletion;
    if (echoed) request.prompt_logprobs = std::max(request.prompt_logprobs, asked.sampling.logprobs);
    request.arrival = start_.arrival;
    request.deadline = start_.deadline;
    const Status status =
        start_.served->engine->submit(std::move(request), std::make_shared<Sink>(shared_from_this(), i));
    if (!status.ok()) return fail(status), false;
    ++submitted_;
  }
  return true;
}

// Events may arrive in one burst; the engine knows when it decided.
void Generation::note_step(std::size_t prompt, const TokenEvent& event) {
  if (event.tokens.empty() && event.stop_token < 0) return;
  last_token_at_ = event.decided_at != 0 ? event.decided_at : start_.loop.clock().now();
  if (first_token_at_ == 0) first_token_at_ = last_token_at_;
  if (began_at_ == 0 || event.began_at < began_at_) began_at_ = event.began_at;
  drafted_ += event.drafted;
  drafts_stood_ += event.drafts_stood;
  std::int32_t& cached = cached_tokens_[prompt];
  cached = cached < 0 ? event.cached_tokens : std::min(cached, event.cached_tokens);
}

void Generation::on_event(std::size_t prompt, const TokenEvent& event) {
  if (ended_) return;
  note_step(prompt, event);
  if (!event.prompt_logprobs.empty()) start_.answer->prompt_logprobs(prompt, event.prompt_logprobs);
  if (event.progress) {
    const auto total = static_cast<std::int64_t>(start_.request->prompts[prompt].size());
    start_.answer->progress(prompt,
                            {total, event.cached_tokens, event.progress->computed, event.progress->spent / 1'000'000});
  }
  const std::size_t choice =
      prompt * static_cast<std::size_t>(start_.request->n) + static_cast<std::size_t>(event.index);
  if (BUG_IF(event.index < 0 || choice >= samples_.size())) return;
  SampleText& text = samples_[choice];
  const bool was_open = !text.ended();
  SampleDelta delta = text.push(event, start_.served->engine->model().eos_token_ids);
  if (was_open && text.stopped_early()) start_.served->engine->cancel(request_id(prompt), event.index);
  if (delta.end && !delta.end->error.ok()) return fail(delta.end->error);
  if (delta.end) --open_samples_;
  if (delta.end && start_.report) ++finishes_[finish_reason_name(delta.end->reason)];
  if (!delta.empty()) start_.answer->delta(choice, std::move(delta));
  if (open_samples_ > 0 || ended_) return;
  start_.answer->complete();
  end(Status());
}

void Generation::fail(const Status& status) {
  if (ended_) return;
  cancel_all();
  start_.answer->fail(status);
  end(status);
}

void Generation::client_gone() {
  if (ended_) return;
  cancel_all();
  end(Status(Code::kCancelled, "the client left"));
}

void Generation::set_paused(bool paused) {
  for (std::size_t i = 0; i < submitted_; ++i) start_.served->engine->set_paused(request_id(i), paused);
}

void Generation::cancel_all() {
  for (std::size_t i = 0; i < submitted_; ++i) start_.served->engine->cancel(request_id(i));
}

void Generation::end(const Status& status) {
  if (ended_) return;
  ended_ = true;
  if (start_.report) report(status);
  if (on_end_) std::exchange(on_end_, nullptr)(this);
}

void Generation::report(const Status& status) {
  GenerationEnd told{start_.answer->id(),
                     *start_.request,
                     start_.trace,
                     start_.client,
                     status,
                     {},
                     usage(),
                     start_.arrival,
                     first_token_at_,
                     last_token_at_,
                     start_.loop.clock().now()};
  for (const auto& [reason, count] : finishes_) {
    told.finishes += (told.finishes.empty() ? "" : ",") + reason;
    if (samples_.size() > 1) told.finishes += ":" + std::to_string(count);
  }
  start_.report(told);
}

OpenGeneration Generation::shown() const {
  OpenGeneration open{start_.answer->id(), start_.request, start_.first_request_id, start_.client, start_.arrival, {}};
  for (const SampleText& sample : samples_) open.ended.push_back(sample.ended());
  return open;
}

Usage Generation::usage() const {
  Usage total;
  for (const auto& prompt : start_.request->prompts) total.prompt_tokens += static_cast<std::int64_t>(prompt.size());
  for (const SampleText& sample : samples_) {
    total.completion_tokens += sample.completion_tokens();
    total.reasoning_tokens += sample.reasoning_tokens();
  }
  for (const std::int32_t cached : cached_tokens_) total.cached_tokens += std::max(0, cached);
  return total;
}

Timings Generation::timings() const {
  const Usage total = usage();
  Timings times;
  times.cache_n = total.cached_tokens;
  times.prompt_n = total.prompt_tokens - total.cached_tokens;
  times.predicted_n = total.completion_tokens;
  times.draft_n = drafted_;
  times.draft_n_accepted = drafts_stood_;
  if (first_token_at_ != 0) {
    times.prompt_ms = seconds_between(began_at_ != 0 ? began_at_ : submitted_at_, first_token_at_) * 1e3;
    times.predicted_ms = seconds_between(first_token_at_, last_token_at_) * 1e3;
  }
  return times;
}

}  // namespace foregate
