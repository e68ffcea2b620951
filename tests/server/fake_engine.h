// A byte tokenizer, a plain chat template and an engine that the test drives by hand: what the
// server needs to run without a model. One thread drives the engine.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "engine/api/engine.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "server/generate/served_model.h"

namespace foregate::test {

inline constexpr Token kEos = 256;
inline constexpr Token kVocab = 258;

// Token = byte; 256 is <eos>, 257 <bos>.
class ByteTokenizer final : public Tokenizer {
 public:
  Result<std::vector<Token>> encode(std::string_view text, const EncodeOptions&) const override {
    std::vector<Token> ids;
    for (unsigned char c : text) ids.push_back(c);
    return ids;
  }
  std::string decode(std::span<const Token> ids, bool skip_special_tokens) const override {
    Detokenizer stream(*this, skip_special_tokens);
    std::string text;
    for (Token id : ids) text += stream.push(id);
    return text + stream.finish();
  }
  std::string token_bytes(Token id) const override {
    if (id >= 0 && id < 256) return std::string(1, static_cast<char>(id));
    return id == kEos ? "<eos>" : id == 257 ? "<bos>" : "";
  }
  std::optional<Token> token_id(std::string_view token) const override {
    if (token == "<eos>") return kEos;
    return std::nullopt;
  }
  bool is_special(Token id) const override { return id >= 256; }
  std::int32_t vocab_size() const override { return kVocab; }
};

// "role:content;" for each message, then "assistant:"; keeps what it was given.
class PlainTemplate final : public ChatTemplate {
 public:
  Result<RenderedChat> render(const nlohmann::ordered_json& variables, const TemplateBudget&,
                              std::int64_t) const override {
    last = variables.dump();
    RenderedChat rendered;
    for (const auto& message : variables["messages"]) {
      const std::string content = message["content"].get<std::string>();
      if (content == "raise") return invalid_argument("raised by the template");
      rendered.text += message["role"].get<std::string>() + ":";
      rendered.input_spans.push_back({rendered.text.size(), rendered.text.size() + content.size()});
      rendered.text += content + ";";
    }
    if (variables["add_generation_prompt"].get<bool>()) rendered.text += "assistant:";
    return rendered;
  }
  mutable std::string last;
};

// Holds what was submitted; the test emits events. Cancelled indexes finish at once, as a real
// engine would soon after.
class HandEngine : public Engine {
 public:
  HandEngine() {
    info_.vocab_size = kVocab;
    info_.eos_token_ids = {kEos};
    limits_.vocab_size = kVocab;
    limits_.max_model_len = 512;
  }
  Status submit(Request request, std::shared_ptr<EventSink> sink) override {
    std::lock_guard lock(mutex);
    if (!refuse.ok()) return refuse;
    const auto id = request.id.value;
    live[id] = {std::move(request), std::move(sink), {}};
    order.push_back(id);
    return {};
  }
  Status check_room(std::uint64_t client) override { return client == crowded ? room : Status(); }
  void cancel(RequestId id) override {
    for (std::int32_t i = 0;; ++i) {
      {
        std::lock_guard lock(mutex);
        const auto found = live.find(id.value);
        if (found == live.end() || i >= found->second.request.n) break;
      }
      cancel(id, i);
    }
  }
  void cancel(RequestId id, std::int32_t index) override {
    {
      std::lock_guard lock(mutex);
      if (live.count(id.value) == 0 || live[id.value].ended.count(index) != 0) return;
      ++cancelled;
    }
    finish(id.value, index, FinishReason::kCancelled);
  }
  void set_paused(RequestId, bool on) override {
    std::lock_guard lock(mutex);
    paused.push_back(on);
  }
  void refresh() override { ++refreshed; }
  void begin_drain() override {
    std::lock_guard lock(mutex);
    refuse = unavailable("draining");
  }
  bool idle() const override {
    std::lock_guard lock(mutex);
    return live.empty();
  }
  EngineStats stats() const override { return {}; }
  const ModelInfo& model() const override { return info_; }
  const Limits& limits() const override { return limits_; }
  bool healthy() const override { return healthy_; }

  // Emits bytes of `text` as tokens of one sample.
  void say(std::uint64_t id, std::int32_t index, const std::string& text) {
    TokenEvent event;
    event.request = RequestId{id};
    event.index = index;
    for (unsigned char c : text) event.tokens.push_back(c);
    event.cached_tokens = cached_tokens;
    emit(id, std::move(event));
  }
  void finish(std::uint64_t id, std::int32_t index, FinishReason reason, Token stop_token = -1, Status error = {}) {
    TokenEvent event;
    event.request = RequestId{id};
    event.index = index;
    event.finish = reason;
    event.stop_token = stop_token;
    event.error = std::move(error);
    std::shared_ptr<EventSink> sink = sink_of(id);
    if (!sink) return;
    sink->on_event(std::move(event));
    std::lock_guard lock(mutex);
    Live& entry = live[id];
    entry.ended.insert(index);
    if (static_cast<std::int32_t>(entry.ended.size()) == entry.request.n) live.erase(id);
  }
  void emit(std::uint64_t id, TokenEvent event) {
    if (auto sink = sink_of(id)) sink->on_event(std::move(event));
  }
  std::uint64_t last_id() const {
    std::lock_guard lock(mutex);
    return order.empty() ? 0 : order.back();
  }

  struct Live {
    Request request;
    std::shared_ptr<EventSink> sink;
    std::set<std::int32_t> ended;
  };
  mutable std::mutex mutex;
  std::map<std::uint64_t, Live> live;
  std::vector<std::uint64_t> order;
  std::vector<bool> paused;
  int cancelled = 0;
  int refreshed = 0;
  std::int32_t cached_tokens = 0;  // what the events say
  std::uint64_t crowded = 0;       // the client that check_room answers with `room`
  Status room;
  Status refuse;
  bool healthy_ = true;

 private:
  std::shared_ptr<EventSink> sink_of(std::uint64_t id) {
    std::lock_guard lock(mutex);
    const auto found = live.find(id);
    return found == live.end() ? nullptr : found->second.sink;
  }
  ModelInfo info_;
  Limits limits_;
};

struct FakeParts {
  std::shared_ptr<HandEngine> engine = std::make_shared<HandEngine>();
  std::shared_ptr<ByteTokenizer> tokenizer = std::make_shared<ByteTokenizer>();
  std::shared_ptr<PlainTemplate> chat_template = std::make_shared<PlainTemplate>();
  std::shared_ptr<ServedModel> backend = std::make_shared<ServedModel>();
  FakeParts() {
    backend->owner = engine;
    backend->engine = engine.get();
    backend->tokenizer = tokenizer;
    backend->chat_template = chat_template;
    backend->model_root = "models/demo";
    grammar::Vocabulary vocabulary;
    for (Token id = 0; id < kVocab; ++id) vocabulary.tokens.push_back(id < 256 ? tokenizer->token_bytes(id) : "");
    vocabulary.end_ids = {kEos};
    backend->grammars = std::make_shared<GrammarCompiler>(std::move(vocabulary));
    backend->context.grammars = backend->grammars.get();
    backend->context.tokenizer = tokenizer.get();
    backend->context.chat_template = chat_template.get();
    backend->context.model_names = {"demo"};
    backend->context.limits = engine->limits();
  }
};

}  // namespace foregate::test
