// The whole server in front of an engine that computes nothing: what serving costs beside the model. A token is the
// time at which the engine gave it out, so that a client on the same machine sees how long it was under way.
//   stub_server PORT GRPC_PORT INTERVAL_MS GROUPS
// Every sample gets a token each INTERVAL_MS; the samples are served in GROUPS steps spread over that time.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/app/app.h"
#include "tests/bench/stamp.h"

namespace foregate {
namespace {

class StampTokenizer final : public Tokenizer {
 public:
  Result<std::vector<Token>> encode(std::string_view text, const EncodeOptions&) const override {
    return std::vector<Token>(std::max<std::size_t>(1, text.size() / 4), 1);
  }
  std::string decode(std::span<const Token> ids, bool) const override {
    std::string text;
    for (const Token id : ids) text += token_bytes(id);
    return text;
  }
  std::string token_bytes(Token id) const override { return stamp_text(static_cast<std::uint32_t>(id)); }
  std::optional<Token> token_id(std::string_view) const override { return std::nullopt; }
  bool is_special(Token) const override { return false; }
  std::int32_t vocab_size() const override { return kStamps; }
};

class LastMessage final : public ChatTemplate {
 public:
  Result<RenderedChat> render(const nlohmann::ordered_json& variables, const TemplateBudget&,
                              std::int64_t) const override {
    return RenderedChat{variables["messages"].back()["content"].get<std::string>(), {}};
  }
};

struct Pace {
  std::chrono::nanoseconds interval;
  std::size_t groups;
};

// Gives every open sample its tokens by the clock. One thread of its own.
class StubEngine final : public Engine {
 public:
  explicit StubEngine(Pace pace) : pace_(pace), groups_(pace.groups) {
    info_.architecture = "stub";
    info_.vocab_size = kStamps;
    info_.device = "none";
    limits_.vocab_size = kStamps;
    limits_.max_model_len = 1 << 20;
    thread_ = std::thread([this] { run(); });
  }
  ~StubEngine() override {
    stop_ = true;
    thread_.join();
  }

  Status submit(Request request, std::shared_ptr<EventSink> sink) override {
    std::lock_guard lock(mutex_);
    groups_[next_++ % groups_.size()].push_back({std::move(request), std::move(sink), 0});
    ++open_;
    return {};
  }
  void cancel(RequestId id) override {
    std::lock_guard lock(mutex_);
    cancelled_.push_back(id.value);
  }
  void cancel(RequestId id, std::int32_t) override { cancel(id); }
  void set_paused(RequestId, bool) override { ++paused_; }
  void begin_drain() override {}
  bool idle() const override {
    std::lock_guard lock(mutex_);
    return open_ == 0;
  }
  EngineStats stats() const override { return {}; }
  const ModelInfo& model() const override { return info_; }
  const Limits& limits() const override { return limits_; }

 private:
  struct Live {
    Request request;
    std::shared_ptr<EventSink> sink;
    std::int32_t given = 0;
  };

  void run() {
    auto next = std::chrono::steady_clock::now();
    for (std::size_t group = 0; !stop_; group = (group + 1) % groups_.size()) {
      next += pace_.interval / static_cast<std::int64_t>(groups_.size());
      std::this_thread::sleep_until(next);
      step(groups_[group]);
    }
  }

  void step(std::vector<Live>& group) {
    std::lock_guard lock(mutex_);
    std::sort(cancelled_.begin(), cancelled_.end());
    for (std::size_t i = 0; i < group.size();) {
      Live& live = group[i];
      TokenEvent event;
      event.request = live.request.id;
      const bool left = std::binary_search(cancelled_.begin(), cancelled_.end(), live.request.id.value);
      if (left) {
        event.finish = FinishReason::kCancelled;
      } else {
        event.tokens.push_back(static_cast<Token>(stamp_now()));
        event.decided_at = system_clock().now();
        if (++live.given == live.request.sampling.max_tokens) event.finish = FinishReason::kLength;
      }
      const bool over = event.finish.has_value();
      live.sink->on_event(std::move(event));
      if (!over) {
        ++i;
        continue;
      }
      live = std::move(group.back());
      group.pop_back();
      --open_;
    }
  }

  Pace pace_;
  ModelInfo info_;
  Limits limits_;
  mutable std::mutex mutex_;
  std::vector<std::vector<Live>> groups_;
  std::vector<std::uint64_t> cancelled_;
  std::size_t next_ = 0;
  std::size_t open_ = 0;
  std::atomic<std::uint64_t> paused_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

Result<std::shared_ptr<const ServedModel>> serve_stub(Pace pace) {
  struct Parts {
    explicit Parts(Pace of) : engine(of) {}
    StubEngine engine;
  };
  auto parts = std::make_shared<Parts>(pace);
  auto served = std::make_shared<ServedModel>();
  served->owner = parts;
  served->engine = &parts->engine;
  served->tokenizer = std::make_shared<StampTokenizer>();
  served->chat_template = std::make_shared<LastMessage>();
  served->model_root = "stub";
  served->max_num_seqs = 1024;
  ApiContext& context = served->context;
  context.tokenizer = served->tokenizer.get();
  context.chat_template = served->chat_template.get();
  context.model_names = {"stub"};
  context.limits = parts->engine.limits();
  context.tool_format = ToolFormat::kHermes;  // replies are read, as those of most models are
  context.reasoning_format = ReasoningFormat::kThink;
  return std::shared_ptr<const ServedModel>(std::move(served));
}

}  // namespace
}  // namespace foregate

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: stub_server PORT GRPC_PORT INTERVAL_MS GROUPS\n");
    return 2;
  }
  foregate::allow_many_files();
  foregate::ServeOptions options;
  options.model = ".";
  options.port = std::atoi(argv[1]);
  options.grpc_port = std::atoi(argv[2]);
  options.max_connections = 8192;
  options.max_num_queued_reqs = 8192;
  options.log_level = "warning";
  const foregate::Pace pace{std::chrono::nanoseconds(std::atoll(argv[3]) * 1'000'000),
                            static_cast<std::size_t>(std::max(1, std::atoi(argv[4])))};
  return foregate::run_server(options, [pace](const auto&, auto&, const auto&) { return foregate::serve_stub(pace); });
}
