#include "server/openai/api_response.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "server/openai/logprobs_json.h"
#include "server/openai/reply_json.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json usage_json(const Usage& usage) {
  Json json = Json::object();
  json["prompt_tokens"] = usage.prompt_tokens;
  json["completion_tokens"] = usage.completion_tokens;
  json["total_tokens"] = usage.prompt_tokens + usage.completion_tokens;
  json["prompt_tokens_details"] = {{"cached_tokens", usage.cached_tokens}};
  if (usage.reasoning_tokens > 0) json["completion_tokens_details"] = {{"reasoning_tokens", usage.reasoning_tokens}};
  return json;
}

double per_second(std::int64_t count, double ms) {
  return ms > 0 ? static_cast<double>(count) * 1000.0 / ms : 0.0;
}

double per_token(std::int64_t count, double ms) {
  return count > 0 ? ms / static_cast<double>(count) : 0.0;
}

Json timings_json(const Timings& t) {
  Json json = Json::object();
  json["cache_n"] = t.cache_n;
  json["prompt_n"] = t.prompt_n;
  json["prompt_ms"] = t.prompt_ms;
  json["prompt_per_token_ms"] = per_token(t.prompt_n, t.prompt_ms);
  json["prompt_per_second"] = per_second(t.prompt_n, t.prompt_ms);
  json["predicted_n"] = t.predicted_n;
  json["predicted_ms"] = t.predicted_ms;
  json["predicted_per_token_ms"] = per_token(t.predicted_n, t.predicted_ms);
  json["predicted_per_second"] = per_second(t.predicted_n, t.predicted_ms);
  if (t.draft_n > 0) {
    json["draft_n"] = t.draft_n;
    json["draft_n_accepted"] = t.draft_n_accepted;
  }
  return json;
}

void put_end(Json& choice, const SampleEnd& end, bool called) {
  choice["finish_reason"] = called && end.reason == FinishReason::kStop ? "tool_calls" : finish_reason_name(end.reason);
  choice["stop_reason"] = nullptr;
  if (end.stop_string) choice["stop_reason"] = *end.stop_string;
  if (end.stop_token) choice["stop_reason"] = *end.stop_token;
}

}  // namespace

ApiResponse::ApiResponse(const ApiRequest& request, const Tokenizer& tokenizer, std::string id, std::string model,
                         std::int64_t created)
    : request_(request),
      tokenizer_(tokenizer),
      id_(std::move(id)),
      model_(std::move(model)),
      created_(created),
      text_offsets_(request.prompts.size() * static_cast<std::size_t>(request.n), 0),
      calls_(text_offsets_.size(), 0) {}

Json ApiResponse::head(bool chunk) const {
  const bool chat = request_.kind == ApiKind::kChat;
  Json json = Json::object();
  json["id"] = id_;
  json["object"] = !chat ? "text_completion" : chunk ? "chat.completion.chunk" : "chat.completion";
  json["created"] = created_;
  json["model"] = model_;
  json["choices"] = Json::array();
  return json;
}

Json ApiResponse::choice_logprobs(const std::vector<Token>& tokens, const std::vector<PositionLogprobs>& logprobs,
                                  std::int64_t* text_offset) const {
  if (!request_.sampling.logprobs) return nullptr;
  const TokenNames names{tokenizer_, request_.tokens_as_ids};
  if (request_.kind == ApiKind::kChat) return chat_logprobs(logprobs, names);
  return completion_logprobs(tokens, logprobs, false, *request_.sampling.logprobs, names, text_offset);
}

std::string ApiResponse::whole(const std::vector<ChoiceResult>& choices, const std::vector<PromptEcho>& echoes,
                               const Usage& usage, const Timings& timings) const {
  Json json = head(false);
  const auto n = static_cast<std::size_t>(request_.n);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const ChoiceResult& result = choices[i];
    Json choice = Json::object();
    choice["index"] = i;
    std::int64_t offset = 0;
    bool called = false;
    if (request_.kind == ApiKind::kChat) {
      choice["message"] = {{"role", "assistant"}, {"content", result.text}, {"refusal", nullptr}};
      if (request_.reply) {
        const ReplyParts parts = parts_of(result.pieces);
        called = !parts.calls.empty();
        put_reply(parts, request_.reply->tools, id_, i, choice["message"]);
      }
      if (request_.echo && !echoes[0].text.empty()) {
        Json& content = choice["message"]["content"];
        content = echoes[0].text + (content.is_string() ? content.get<std::string>() : "");
      }
      choice["logprobs"] = choice_logprobs(result.tokens, result.logprobs, &offset);
    } else {
      const PromptEcho* echo = request_.echo ? &echoes[i / n] : nullptr;
      choice["text"] = echo != nullptr ? echo->text + result.text : result.text;
      Json logprobs = nullptr;
      if (echo != nullptr && request_.sampling.logprobs) {
        logprobs = completion_logprobs(echo->tokens, echo->logprobs, true, *request_.sampling.logprobs,
                                       {tokenizer_, request_.tokens_as_ids}, &offset);
        const Json more = choice_logprobs(result.tokens, result.logprobs, &offset);
        for (const auto& [key, list] : more.items()) {
          for (const Json& item : list) logprobs[key].push_back(item);
        }
      } else {
        logprobs = choice_logprobs(result.tokens, result.logprobs, &offset);
      }
      choice["logprobs"] = std::move(logprobs);
      if (request_.return_token_ids) choice["prompt_token_ids"] = request_.prompts[i / n];
    }
    put_end(choice, result.end, called);
    if (request_.return_token_ids) choice["token_ids"] = result.tokens;
    if (request_.prompt_logprobs && request_.kind == ApiKind::kCompletion) {
      choice["prompt_logprobs"] = prompt_logprobs_json(echoes[i / n].logprobs, *request_.prompt_logprobs, tokenizer_);
    }
    json["choices"].push_back(std::move(choice));
  }
  if (request_.prompt_logprobs && request_.kind == ApiKind::kChat) {
    json["prompt_logprobs"] = prompt_logprobs_json(echoes[0].logprobs, *request_.prompt_logprobs, tokenizer_);
  }
  if (request_.return_token_ids && request_.kind == ApiKind::kChat) json["prompt_token_ids"] = request_.prompts[0];
  json["usage"] = usage_json(usage);
  json["timings"] = timings_json(timings);
  return dump(json);
}

std::string ApiResponse::chunk(Json choice, const Usage* usage, const Timings* timings) const {
  Json json = head(true);
  json["choices"].push_back(std::move(choice));
  if (usage != nullptr) json["usage"] = usage_json(*usage);
  if (timings != nullptr) json["timings"] = timings_json(*timings);
  return dump(json);
}

// A choice of a chunk that says nothing yet.
Json ApiResponse::empty_choice(std::size_t index) const {
  Json choice = Json::object();
  choice["index"] = index;
  if (request_.kind == ApiKind::kChat) {
    choice["delta"] = Json::object();
  } else {
    choice["text"] = "";
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = nullptr;
  return choice;
}

std::string ApiResponse::progress_chunk(std::size_t index, const Progress& progress) const {
  Json json = head(true);
  json["choices"].push_back(empty_choice(index));
  json["prompt_progress"] = {{"total", progress.total},
                             {"cache", progress.cache},
                             {"processed", progress.processed},
                             {"time_ms", progress.time_ms}};
  return dump(json);
}

std::string ApiResponse::role_chunk(std::size_t index, const Usage* usage) const {
  Json choice = empty_choice(index);
  choice["delta"] = {{"role", "assistant"}, {"content", ""}};
  if (request_.return_token_ids) choice["prompt_token_ids"] = request_.prompts[0];
  return chunk(std::move(choice), usage, nullptr);
}

std::string ApiResponse::echo_chunk(std::size_t index, const PromptEcho& echo, const Usage* usage) {
  Json choice = empty_choice(index);
  if (request_.kind == ApiKind::kChat) {
    choice["delta"]["content"] = echo.text;
    return chunk(std::move(choice), usage, nullptr);
  }
  choice["text"] = echo.text;
  if (request_.sampling.logprobs) {
    choice["logprobs"] = completion_logprobs(echo.tokens, echo.logprobs, true, *request_.sampling.logprobs,
                                             {tokenizer_, request_.tokens_as_ids}, &text_offsets_[index]);
  }
  if (request_.return_token_ids) choice["prompt_token_ids"] = echo.tokens;
  return chunk(std::move(choice), usage, nullptr);
}

std::string ApiResponse::delta_chunk(std::size_t index, const SampleDelta& delta, const Usage* usage,
                                     const Timings* timings) {
  Json choice = empty_choice(index);
  if (request_.kind == ApiKind::kChat) {
    if (request_.reply) {
      put_delta(delta.pieces, request_.reply->tools, id_, index, calls_[index], choice["delta"]);
    } else {
      choice["delta"]["content"] = delta.text;
    }
  } else {
    choice["text"] = delta.text;
  }
  choice["logprobs"] = choice_logprobs(delta.tokens, delta.logprobs, &text_offsets_[index]);
  if (request_.return_token_ids) choice["token_ids"] = delta.tokens;
  return chunk(std::move(choice), usage, timings);
}

// The text in which this chunk differs from others of its choice; null when there is more to it.
const std::string* ApiResponse::only_text(const SampleDelta& delta) const {
  if (request_.sampling.logprobs || request_.return_token_ids) return nullptr;
  if (!request_.reply || request_.kind != ApiKind::kChat) return &delta.text;
  if (delta.pieces.size() != 1) return nullptr;
  const ReplyPiece& piece = delta.pieces[0];
  const bool plain = piece.kind == ReplyPiece::Kind::kContent || piece.kind == ReplyPiece::Kind::kReasoning;
  return plain ? &piece.text : nullptr;
}

std::string_view ApiResponse::delta_bytes(std::size_t index, const SampleDelta& delta, const Usage* usage,
                                          const Timings* timings) {
  const std::string* text = usage == nullptr && timings == nullptr ? only_text(delta) : nullptr;
  if (text == nullptr) return bytes_ = delta_chunk(index, delta, usage, timings);
  const bool reasoning = !delta.pieces.empty() && delta.pieces[0].kind == ReplyPiece::Kind::kReasoning;
  if (frames_.empty()) frames_.resize(2 * text_offsets_.size());
  ChunkFrame& frame = frames_[2 * index + (reasoning ? 1 : 0)];
  if (!frame.made()) {
    SampleDelta empty;
    if (!delta.pieces.empty()) empty.pieces = {{delta.pieces[0].kind, ""}};
    frame = ChunkFrame(delta_chunk(index, empty, nullptr, nullptr), reasoning ? 2 : 1);
  }
  frame.fill(*text, bytes_);
  return bytes_;
}

std::string ApiResponse::end_chunk(std::size_t index, const SampleEnd& end, const Usage* usage,
                                   const Timings* timings) const {
  Json choice = empty_choice(index);
  put_end(choice, end, calls_[index] > 0);
  return chunk(std::move(choice), usage, timings);
}

std::string ApiResponse::usage_chunk(const Usage& usage) const {
  Json json = head(true);
  json["usage"] = usage_json(usage);
  return dump(json);
}

}  // namespace foregate
