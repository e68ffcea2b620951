// foregate chat MODEL: a conversation in the terminal, engine in the same process.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/base/log.h"
#include "engine/runtime/boot.h"
#include "tools/foregate/commands.h"
#include "tools/foregate/progress.h"
#include "tools/foregate/queue_sink.h"

namespace foregate {
namespace {

volatile std::sig_atomic_t g_interrupted = 0;

struct ChatOptions {
  BootOptions boot;
  std::string system;
  std::int32_t max_tokens = 256;
  double temperature = -1.0;
  std::int64_t seed = -1;
};

class Conversation {
 public:
  Conversation(BootedEngine& booted, const ChatOptions& options) : booted_(booted), options_(options) { reset(); }

  void reset() {
    messages_ = nlohmann::ordered_json::array();
    if (!options_.system.empty()) messages_.push_back({{"role", "system"}, {"content", options_.system}});
  }

  // Streams the answer to one user line; the conversation keeps both.
  Status ask(const std::string& line) {
    messages_.push_back({{"role", "user"}, {"content", line}});
    auto answer = stream_answer();
    if (!answer.ok()) {
      messages_.erase(messages_.size() - 1);
      return answer.status();
    }
    messages_.push_back({{"role", "assistant"}, {"content", answer.value()}});
    return {};
  }

 private:
  Result<std::vector<Token>> prompt() const {
    nlohmann::ordered_json variables = {{"messages", messages_},
                                        {"add_generation_prompt", true},
                                        {"bos_token", booted_.bos_token()},
                                        {"eos_token", booted_.eos_token()}};
    ASSIGN_OR_RETURN(RenderedChat chat, booted_.chat_template()->render(variables, {}, system_clock().wall_seconds()));
    return booted_.tokenizer()->encode(chat.text, {.literal_spans = chat.input_spans});
  }

  Result<Request> make_request() {
    Request request;
    ASSIGN_OR_RETURN(request.prompt, prompt());
    const GenerationDefaults& defaults = booted_.generation_defaults();
    SamplingParams& sampling = request.sampling;
    sampling.temperature =
        options_.temperature >= 0.0 ? static_cast<float>(options_.temperature) : defaults.temperature.value_or(1.0f);
    sampling.top_k = defaults.top_k.value_or(0);
    sampling.top_p = defaults.top_p.value_or(1.0f);
    sampling.min_p = defaults.min_p.value_or(0.0f);
    sampling.repetition_penalty = defaults.repetition_penalty.value_or(1.0f);
    if (options_.seed >= 0) sampling.seed = static_cast<std::uint64_t>(options_.seed);
    const auto room = booted_.engine().limits().max_model_len - static_cast<std::int32_t>(request.prompt.size());
    if (room < 1) return invalid_argument("the conversation fills the model's context; /reset starts a new one");
    sampling.max_tokens = std::min(options_.max_tokens, room);
    request.id = RequestId{++requests_};
    request.arrival = system_clock().now();
    RETURN_IF_ERROR(validate(request, booted_.engine().limits()));
    return request;
  }

  Result<std::string> stream_answer() {
    ASSIGN_OR_RETURN(Request request, make_request());
    const RequestId id = request.id;
    auto sink = std::make_shared<QueueSink>();
    RETURN_IF_ERROR(booted_.engine().submit(std::move(request), sink));
    Detokenizer text(*booted_.tokenizer(), true);
    std::string answer;
    const auto show = [&answer](const std::string& part) {
      answer += part;
      std::fputs(part.c_str(), stdout);
      std::fflush(stdout);
    };
    g_interrupted = 0;
    for (;;) {
      auto event = sink->next(std::chrono::milliseconds(100));
      if (g_interrupted != 0) booted_.engine().cancel(id);
      if (!event) continue;
      for (Token token : event->tokens) show(text.push(token));
      if (!event->finish) continue;
      show(text.finish());
      std::fputs("\n", stdout);
      if (*event->finish == FinishReason::kError) return event->error;
      return answer;
    }
  }

  BootedEngine& booted_;
  const ChatOptions& options_;
  nlohmann::ordered_json messages_;
  std::uint64_t requests_ = 0;
};

void talk(BootedEngine& booted, const ChatOptions& options) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  Conversation conversation(booted, options);
  if (terminal) std::fputs("/reset forgets the conversation, /exit leaves, Ctrl-C stops an answer\n", stdout);
  std::string line;
  for (;;) {
    if (terminal) std::fputs("> ", stdout), std::fflush(stdout);
    if (!std::getline(std::cin, line) || line == "/exit") return;
    if (line == "/reset") {
      conversation.reset();
    } else if (!line.empty()) {
      const Status status = conversation.ask(line);
      if (!status.ok()) std::fprintf(stderr, "%s\n", status.to_string().c_str());
    }
  }
}

}  // namespace

int chat_command(int argc, char** argv) {
  ChatOptions options;
  CLI::App app("Chat with a model in the terminal", "foregate chat");
  app.add_option("model", options.boot.model, "model directory or GGUF file")->required();
  app.add_option("--system", options.system, "system message");
  app.add_option("--max-tokens", options.max_tokens, "longest answer, in tokens")->check(CLI::Range(1, 1 << 20));
  app.add_option("--temperature", options.temperature, "0 takes the likeliest token")->check(CLI::Range(0.0, 100.0));
  app.add_option("--seed", options.seed, "makes sampling repeatable")->check(CLI::NonNegativeNumber);
  app.add_option("-q,--quantization", options.boot.quantization, "pack scalar matrices in this format")
      ->check(CLI::IsMember({"none", "q8_0", "q4_0", "q4_k"}));
  app.add_option("-t,--threads", options.boot.threads, "compute threads; 0 chooses")->check(CLI::Range(0, 1024));
  app.add_option("--isa", options.boot.isa, "auto | generic | avx2 | avx512 | ref");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  set_log_level(LogLevel::kWarn);
  options.boot.max_num_seqs = 1;
  ProgressBar bar;
  options.boot.progress = [&bar](std::string_view stage, double fraction) { bar.show(stage, fraction); };
  auto booted = boot_engine(options.boot);
  bar.clear();
  if (!booted.ok()) {
    std::fprintf(stderr, "foregate chat: %s\n", booted.status().to_string().c_str());
    return 1;
  }
  if (booted.value()->chat_template() == nullptr) {
    std::fprintf(stderr, "foregate chat: %s has no chat template\n", options.boot.model.c_str());
    return 1;
  }
  std::signal(SIGINT, [](int) { g_interrupted = 1; });
  talk(*booted.value(), options);
  return 0;
}

}  // namespace foregate
