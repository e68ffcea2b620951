// Response bodies and stream chunks of chat and text completions. One object per request; the
// loop thread only. Text from the model is put out as valid UTF-8 whatever it holds.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/api/types.h"
#include "engine/text/tokenizer.h"
#include "server/openai/api_request.h"
#include "server/openai/chunk_frame.h"
#include "server/stream/sample_text.h"

namespace foregate {

struct Usage {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t reasoning_tokens = 0;  // of the completion
};

// As llama-server gives them: prompt_n counts the tokens that were computed, without cached ones; prompt_ms is from the
// first step to the first token, predicted_ms from there to the last one.
struct Timings {
  std::int64_t cache_n = 0;
  std::int64_t prompt_n = 0;
  double prompt_ms = 0;
  std::int64_t predicted_n = 0;
  double predicted_ms = 0;
  std::int64_t draft_n = 0;  // drafted tokens that were looked at; told of when there were any
  std::int64_t draft_n_accepted = 0;
};

// How far a prompt is, as llama-server tells of it.
struct Progress {
  std::int64_t total = 0;
  std::int64_t cache = 0;      // of its tokens, found in the prefix cache
  std::int64_t processed = 0;  // those among them
  std::int64_t time_ms = 0;    // since its first step began
};

// Everything one sample has given; for a response that is not streamed.
struct ChoiceResult {
  std::string text;
  std::vector<ReplyPiece> pieces;  // the same, where the request asks how it is read
  std::vector<Token> tokens;
  std::vector<PositionLogprobs> logprobs;
  SampleEnd end;
};

// A prompt as echo puts it before a completion, and as prompt_logprobs tells of it. Of a chat, the reply that it ends
// with.
struct PromptEcho {
  std::string text;
  std::vector<Token> tokens;
  std::vector<PositionLogprobs> logprobs;  // empty, or one per token with the first one empty
};

class ApiResponse {
 public:
  // `request` and `tokenizer` must outlive this.
  ApiResponse(const ApiRequest& request, const Tokenizer& tokenizer, std::string id, std::string model,
              std::int64_t created);

  std::string whole(const std::vector<ChoiceResult>& choices, const std::vector<PromptEcho>& echoes, const Usage& usage,
                    const Timings& timings) const;

  // Chunks of a stream; `index` is that of the choice. `usage` is put in when not null.
  std::string role_chunk(std::size_t index, const Usage* usage) const;  // chat only, first of its choice
  std::string echo_chunk(std::size_t index, const PromptEcho& echo, const Usage* usage);
  std::string progress_chunk(std::size_t index, const Progress& progress) const;
  std::string delta_chunk(std::size_t index, const SampleDelta& delta, const Usage* usage, const Timings* timings);
  // The same bytes, from a frame where only a text is new. Valid until the next call.
  std::string_view delta_bytes(std::size_t index, const SampleDelta& delta, const Usage* usage, const Timings* timings);
  std::string end_chunk(std::size_t index, const SampleEnd& end, const Usage* usage, const Timings* timings) const;
  std::size_t calls(std::size_t index) const { return calls_[index]; }  // that went out in deltas of the choice
  std::string usage_chunk(const Usage& usage) const;

  const std::string& id() const { return id_; }

 private:
  nlohmann::ordered_json head(bool chunk) const;
  nlohmann::ordered_json empty_choice(std::size_t index) const;
  std::string chunk(nlohmann::ordered_json choice, const Usage* usage, const Timings* timings) const;
  nlohmann::ordered_json choice_logprobs(const std::vector<Token>& tokens,
                                         const std::vector<PositionLogprobs>& logprobs,
                                         std::int64_t* text_offset) const;

  const std::string* only_text(const SampleDelta& delta) const;

  const ApiRequest& request_;
  const Tokenizer& tokenizer_;
  std::string id_;
  std::string model_;
  std::int64_t created_;
  std::vector<std::int64_t> text_offsets_;  // per choice, characters sent so far
  std::vector<std::size_t> calls_;          // per choice, calls of tools sent so far
  std::vector<ChunkFrame> frames_;          // two for each choice: of content, of reasoning; made when needed
  std::string bytes_;                       // what delta_bytes gave last
};

}  // namespace foregate
