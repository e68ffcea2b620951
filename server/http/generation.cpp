#include "server/http/generation.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "server/openai/api_error.h"

namespace foregate {

// Carries events from the engine thread to the loop. The last reference to the generation is
// always dropped on the loop.
class Generation::Sink final : public EventSink {
 public:
  Sink(std::shared_ptr<Generation> generation, std::size_t prompt)
      : loop_(generation->start_.loop), generation_(std::move(generation)), prompt_(prompt) {}
  ~Sink() override {
    loop_.post([generation = std::move(generation_)] {});
  }
  void on_event(TokenEvent event) override {
    loop_.post([generation = generation_, prompt = prompt_, event = std::make_shared<TokenEvent>(std::move(event))] {
      generation->on_event(prompt, *event);
    });
  }

 private:
  IoLoop& loop_;
  std::shared_ptr<Generation> generation_;
  std::size_t prompt_;
};

Generation::Generation(GenerationStart start, std::function<void(Generation*)> on_end)
    : start_(std::move(start)),
      on_end_(std::move(on_end)),
      response_(start_.request, *start_.served->tokenizer, start_.response_id, start_.served->context.model_names[0],
                start_.loop.clock().wall_seconds()) {
  const ApiRequest& request = start_.request;
  SampleOptions options;
  options.stop = request.stop;
  options.include_stop = request.include_stop;
  options.skip_special_tokens = request.skip_special_tokens;
  options.min_tokens = request.sampling.min_tokens;
  open_samples_ = request.prompts.size() * static_cast<std::size_t>(request.n);
  samples_.reserve(open_samples_);
  for (std::size_t i = 0; i < open_samples_; ++i) samples_.emplace_back(*start_.served->tokenizer, options);
  cached_tokens_.assign(request.prompts.size(), 0);
  if (request.echo) {
    for (std::size_t i = 0; i < request.prompts.size(); ++i) {
      echoes_.push_back({request.prompt_texts[i], request.prompts[i], {}});
    }
  }
}

void Generation::start() {
  if (!start_.exchange->open()) return end();
  submitted_at_ = start_.loop.clock().now();
  if (!submit()) return;
  start_.exchange->on_gone([self = shared_from_this()](const char*) {
    if (self->ended_) return;
    self->cancel_all();
    self->end();
  });
  if (start_.request.stream) begin_stream();
}

bool Generation::submit() {
  for (std::size_t i = 0; i < start_.request.prompts.size(); ++i) {
    Request request;
    request.id = request_id(i);
    request.prompt = start_.request.prompts[i];
    request.sampling = start_.request.sampling;
    request.n = start_.request.n;
    if (start_.request.echo) request.prompt_logprobs = start_.request.sampling.logprobs;
    request.arrival = start_.arrival;
    const Status status =
        start_.served->engine->submit(std::move(request), std::make_shared<Sink>(shared_from_this(), i));
    if (!status.ok()) return fail(status), false;
    ++submitted_;
  }
  return true;
}

void Generation::begin_stream() {
  Exchange& exchange = *start_.exchange;
  exchange.on_pressure([self = shared_from_this()](bool pressed) {
    for (std::size_t i = 0; i < self->submitted_; ++i) {
      self->start_.served->engine->set_paused(self->request_id(i), pressed);
    }
  });
  exchange.begin_stream("text/event-stream; charset=utf-8", {{"x-request-id", response_.id()}});
  sse_ = std::make_unique<SseWriter>([&exchange](std::string_view bytes) { exchange.send(bytes); },
                                     [&exchange] { exchange.end_stream(); });
  if (start_.request.kind != ApiKind::kChat) return;
  for (std::size_t i = 0; i < samples_.size(); ++i) open_choice(i);
}

// The first chunk of a choice: the role of a chat, the echoed prompt of a completion.
void Generation::open_choice(std::size_t choice) {
  Sample& sample = samples_[choice];
  if (sample.opened) return;
  sample.opened = true;
  const Usage now = usage();
  const Usage* shown = start_.request.continuous_usage ? &now : nullptr;
  if (start_.request.kind == ApiKind::kChat) {
    sse_->event(response_.role_chunk(choice, shown));
  } else if (start_.request.echo) {
    sse_->event(response_.echo_chunk(choice, echoes_[choice / static_cast<std::size_t>(start_.request.n)], shown));
  }
}

void Generation::on_event(std::size_t prompt, const TokenEvent& event) {
  if (ended_) return;
  if (!event.tokens.empty() || event.stop_token >= 0) {
    // Events may arrive in one burst; the engine knows when it decided.
    last_token_at_ = event.decided_at != 0 ? event.decided_at : start_.loop.clock().now();
    if (first_token_at_ == 0) first_token_at_ = last_token_at_;
  }
  cached_tokens_[prompt] = std::max(cached_tokens_[prompt], event.cached_tokens);
  if (!echoes_.empty() && !event.prompt_logprobs.empty()) echoes_[prompt].logprobs = event.prompt_logprobs;
  const std::size_t choice =
      prompt * static_cast<std::size_t>(start_.request.n) + static_cast<std::size_t>(event.index);
  if (BUG_IF(event.index < 0 || choice >= samples_.size())) return;
  SampleText& text = samples_[choice].text;
  const bool was_open = !text.ended();
  SampleDelta delta = text.push(event, start_.served->engine->model().eos_token_ids);
  if (was_open && text.stopped_early()) start_.served->engine->cancel(request_id(prompt), event.index);
  if (delta.end && !delta.end->error.ok()) return fail(delta.end->error);
  if (delta.end) --open_samples_;
  if (sse_ != nullptr) {
    emit(choice, delta);
  } else {
    collect(choice, std::move(delta));
  }
  if (open_samples_ == 0) complete();
}

void Generation::emit(std::size_t choice, const SampleDelta& delta) {
  if (delta.empty()) return;
  open_choice(choice);
  const Usage now = usage();
  const Usage* shown = start_.request.continuous_usage ? &now : nullptr;
  if (!delta.text.empty() || !delta.tokens.empty()) sse_->event(response_.delta_chunk(choice, delta, shown));
  if (!delta.end) return;
  const Timings times = timings();
  sse_->event(response_.end_chunk(choice, *delta.end, shown, open_samples_ == 0 ? &times : nullptr));
}

void Generation::collect(std::size_t choice, SampleDelta delta) {
  ChoiceResult& result = samples_[choice].result;
  result.text += delta.text;
  result.tokens.insert(result.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  std::move(delta.logprobs.begin(), delta.logprobs.end(), std::back_inserter(result.logprobs));
  if (delta.end) result.end = std::move(*delta.end);
}

void Generation::complete() {
  if (sse_ != nullptr) {
    if (start_.request.include_usage) sse_->event(response_.usage_chunk(usage()));
    sse_->done();
    return end();
  }
  std::vector<ChoiceResult> choices;
  for (Sample& sample : samples_) choices.push_back(std::move(sample.result));
  HttpResponse response;
  response.headers.emplace_back("x-request-id", response_.id());
  response.body = response_.whole(choices, echoes_, usage(), timings());
  start_.exchange->respond(std::move(response));
  end();
}

void Generation::fail(const Status& status) {
  if (ended_) return;
  cancel_all();
  const ApiError error = api_error(status);
  if (sse_ != nullptr) {
    sse_->fail(error.body);
  } else {
    HttpResponse response;
    response.status = error.status == 499 ? 503 : error.status;
    response.body = error.body;
    if (error.retry_later) response.headers.emplace_back("retry-after", "1");
    start_.exchange->respond(std::move(response));
  }
  end();
}

void Generation::cancel_all() {
  for (std::size_t i = 0; i < submitted_; ++i) start_.served->engine->cancel(request_id(i));
}

void Generation::end() {
  if (ended_) return;
  ended_ = true;
  if (on_end_) std::exchange(on_end_, nullptr)(this);
}

Usage Generation::usage() const {
  Usage total;
  for (const auto& prompt : start_.request.prompts) total.prompt_tokens += static_cast<std::int64_t>(prompt.size());
  for (const Sample& sample : samples_) total.completion_tokens += sample.text.completion_tokens();
  total.cached_tokens = std::accumulate(cached_tokens_.begin(), cached_tokens_.end(), std::int64_t{0});
  return total;
}

Timings Generation::timings() const {
  const Usage total = usage();
  Timings times;
  times.cache_n = total.cached_tokens;
  times.prompt_n = total.prompt_tokens - total.cached_tokens;
  times.predicted_n = total.completion_tokens;
  if (first_token_at_ != 0) {
    times.prompt_ms = seconds_between(submitted_at_, first_token_at_) * 1e3;
    times.predicted_ms = seconds_between(first_token_at_, last_token_at_) * 1e3;
  }
  return times;
}

}  // namespace foregate
