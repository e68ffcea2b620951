// One generation request from checked ApiRequest to its one terminal: submits a request per prompt to the engine, turns
// events into text, and hands that to an Answer, which knows the protocol. Lives on the loop thread; engine events
// reach it through the loop.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/api/engine.h"
#include "server/generate/event_mail.h"
#include "server/generate/served_model.h"
#include "server/net/io.h"
#include "server/openai/api_response.h"
#include "server/ops/trace_parent.h"
#include "server/stream/sample_text.h"

namespace foregate {

class Generation;

// What became of one generation, told once, at its end. Valid during the call.
struct GenerationEnd {
  std::string id;  // as its client knows it; empty: it was told none
  const ApiRequest& request;
  const TraceParent& trace;
  std::uint64_t client = 0;
  Status status;         // kCancelled when the client left
  std::string finishes;  // of its samples: "stop", or "stop:2,length:1"
  Usage usage;
  TimeNs arrival = 0;
  TimeNs first_token = 0;  // 0: there was none
  TimeNs last_token = 0;
  TimeNs ended = 0;
};
using ReportEnd = std::function<void(const GenerationEnd&)>;

// What is open, for those who look on.
struct OpenGeneration {
  std::string id;  // as its client knows it
  std::shared_ptr<const ApiRequest> request;
  std::uint64_t first_request_id = 0;  // one for each prompt, counting up
  std::uint64_t client = 0;
  TimeNs arrival = 0;
  std::vector<bool> ended;  // of each sample, prompt-major
};

// How one request is answered. After complete() or fail(), of which exactly one is called unless the client left first,
// nothing more is called.
class Answer {
 public:
  virtual ~Answer() = default;
  virtual bool open() const = 0;                 // false once the client has gone
  virtual std::string id() const { return {}; }  // as the client knows it
  // The engine has taken all prompts. `generation` may be kept until the terminal, to tell it that the client is gone
  // or slow.
  virtual void begin(const std::shared_ptr<Generation>& generation) = 0;
  virtual void prompt_logprobs(std::size_t prompt, const std::vector<PositionLogprobs>& logprobs) = 0;
  virtual void progress(std::size_t prompt, const Progress& progress) {  // of a request that asks for it
    static_cast<void>(prompt), static_cast<void>(progress);
  }
  // `choice` counts prompt-major: prompt * n + index. Never empty; the last one of a choice has its end.
  virtual void delta(std::size_t choice, SampleDelta delta) = 0;
  virtual void complete() = 0;
  virtual void fail(const Status& status) = 0;
};

struct GenerationStart {
  IoLoop& loop;
  std::shared_ptr<EventMail> mail;  // of that loop
  std::shared_ptr<const ServedModel> served;
  std::shared_ptr<const ApiRequest> request;
  std::unique_ptr<Answer> answer;
  std::uint64_t first_request_id = 0;  // one id per prompt, counting up
  TimeNs arrival = 0;
  TimeNs deadline = 0;       // by the loop's clock; 0 = none
  std::uint64_t client = 0;  // whose request it is: Request::client
  TraceParent trace;
  ReportEnd report;  // may be empty
};

class Generation : public std::enable_shared_from_this<Generation> {
 public:
  Generation(GenerationStart start, std::function<void(Generation*)> on_end);
  void start();
  void on_event(std::size_t prompt, const TokenEvent& event);  // EventMail calls it
  // Ends an answer that is still open with this error, and cancels the work behind it.
  void fail(const Status& status);
  void client_gone();            // cancels the work; the answer hears no more
  void set_paused(bool paused);  // of a client that reads slowly
  OpenGeneration shown() const;
  Usage usage() const;
  Timings timings() const;
  std::size_t open_samples() const { return open_samples_; }
  std::int32_t cached_tokens(std::size_t prompt) const { return std::max(0, cached_tokens_[prompt]); }
  std::int32_t completion_tokens(std::size_t choice) const { return samples_[choice].completion_tokens(); }

 private:
  class Sink;

  bool submit();
  void note_step(std::size_t prompt, const TokenEvent& event);
  void cancel_all();
  void end(const Status& status);
  void report(const Status& status);
  RequestId request_id(std::size_t prompt) const { return RequestId{start_.first_request_id + prompt}; }

  GenerationStart start_;
  std::function<void(Generation*)> on_end_;
  std::vector<SampleText> samples_;          // prompt-major: prompt * n + index
  std::vector<std::int32_t> cached_tokens_;  // by prompt, of the sample that computed most of it; -1: none yet
  std::size_t submitted_ = 0;
  std::size_t open_samples_ = 0;
  TimeNs submitted_at_ = 0;
  TimeNs began_at_ = 0;  // the first step of any sample
  TimeNs first_token_at_ = 0;
  TimeNs last_token_at_ = 0;
  std::int64_t drafted_ = 0;
  std::int64_t drafts_stood_ = 0;
  std::map<std::string, int> finishes_;  // samples by how they ended
  bool ended_ = false;
};

}  // namespace foregate
