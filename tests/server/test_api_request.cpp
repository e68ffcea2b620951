// Request bodies: what is taken, and a table of what is refused with the field it must name.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/openai/api_error.h"
#include "server/openai/api_request.h"
#include "server/openai/json_guard.h"
#include "tests/server/fake_engine.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

struct ApiRequestTest : testing::Test {
  test::FakeParts parts;
  ApiContext& context = parts.backend->context;

  Result<ApiRequest> chat(const std::string& members) {
    const std::string comma = members.empty() ? "" : ", ";
    return parse_chat_request(R"({"messages": [{"role": "user", "content": "hi"}])" + comma + members + "}", context);
  }
  Result<ApiRequest> completion(const std::string& members) {
    const std::string comma = members.empty() ? "" : ", ";
    return parse_completion_request(R"({"prompt": "hi")" + comma + members + "}", context);
  }
  void refuse(const Result<ApiRequest>& result, const std::string& field, const std::string& body) {
    ASSERT_FALSE(result.ok()) << body;
    EXPECT_EQ(result.status().field(), field) << body << " -> " << result.status().message();
    const ApiError error = api_error(result.status());
    EXPECT_TRUE(error.status == 400 || error.status == 404) << body;
    const Json json = Json::parse(error.body);
    EXPECT_TRUE(json["error"]["message"].is_string());
    EXPECT_LT(error.body.size(), 1000u) << "an error must not echo the input";
  }
};

TEST_F(ApiRequestTest, Defaults) {
  const auto request = chat("");
  ASSERT_TRUE(request.ok()) << request.status().message();
  EXPECT_EQ(request.value().prompts.size(), 1u);
  EXPECT_EQ(request.value().n, 1);
  EXPECT_FALSE(request.value().stream);
  const auto prompt = static_cast<std::int32_t>(request.value().prompts[0].size());
  EXPECT_EQ(request.value().sampling.max_tokens, context.limits.max_model_len - prompt);
  EXPECT_EQ(completion("").value().sampling.max_tokens, 16);
}

TEST_F(ApiRequestTest, GenerationDefaultsAreUsedAndOverridden) {
  context.defaults.temperature = 0.5f;
  context.defaults.top_k = 7;
  context.defaults.max_tokens = 11;
  EXPECT_EQ(chat("").value().sampling.temperature, 0.5f);
  EXPECT_EQ(chat("").value().sampling.top_k, 7);
  EXPECT_EQ(chat("").value().sampling.max_tokens, 11);
  EXPECT_EQ(chat(R"("temperature": 0, "top_k": 3, "max_tokens": 20)").value().sampling.temperature, 0.0f);
  EXPECT_EQ(chat(R"("temperature": 0, "top_k": 3, "max_tokens": 20)").value().sampling.max_tokens, 20);
}

TEST_F(ApiRequestTest, EveryFieldArrives) {
  const auto parsed = completion(R"("temperature": 0.25, "top_p": 0.5, "top_k": 4, "min_p": 0.1,
      "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 2, "seed": -3, "n": 3, "best_of": 3,
      "stop": ["a", "bb"], "stop_token_ids": [5, 6], "logit_bias": {"7": -100, "8": 1.5}, "min_tokens": 2,
      "max_tokens": 9.0, "ignore_eos": true, "logprobs": 4, "stream": true, "echo": true, "user": "me",
      "stream_options": {"include_usage": true, "continuous_usage_stats": true},
      "include_stop_str_in_output": true, "skip_special_tokens": false, "return_token_ids": true,
      "cache_salt": "s", "unknown": 1)");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const ApiRequest& r = parsed.value();
  const SamplingParams& s = r.sampling;
  EXPECT_EQ(s.temperature, 0.25f);
  EXPECT_EQ(s.top_p, 0.5f);
  EXPECT_EQ(s.top_k, 4);
  EXPECT_EQ(s.min_p, 0.1f);
  EXPECT_EQ(s.repetition_penalty, 1.5f);
  EXPECT_EQ(s.presence_penalty, -1.0f);
  EXPECT_EQ(s.frequency_penalty, 2.0f);
  EXPECT_EQ(s.seed, static_cast<std::uint64_t>(-3));
  EXPECT_EQ(r.n, 3);
  EXPECT_EQ(r.cache_salt, "s");
  EXPECT_EQ(r.stop, (std::vector<std::string>{"a", "bb"}));
  EXPECT_EQ(s.stop_token_ids, (std::vector<Token>{5, 6}));
  ASSERT_EQ(s.logit_bias.size(), 2u);
  EXPECT_EQ(s.logit_bias[1], (std::pair<Token, float>{8, 1.5f}));
  EXPECT_EQ(s.min_tokens, 2);
  EXPECT_EQ(s.max_tokens, 9);
  EXPECT_TRUE(s.ignore_eos);
  EXPECT_EQ(s.logprobs, 4);
  EXPECT_TRUE(r.stream && r.echo && r.include_usage && r.continuous_usage && r.include_stop && r.return_token_ids);
  EXPECT_FALSE(r.skip_special_tokens);
  EXPECT_EQ(r.prompt_texts[0], "hi");
}

TEST_F(ApiRequestTest, PromptShapes) {
  EXPECT_EQ(parse_completion_request(R"({"prompt": ["a", "bc"]})", context).value().prompts.size(), 2u);
  EXPECT_EQ(parse_completion_request(R"({"prompt": [1, 2, 3]})", context).value().prompts[0].size(), 3u);
  EXPECT_EQ(parse_completion_request(R"({"prompt": [[1], [2, 3]]})", context).value().prompts[1].size(), 2u);
  EXPECT_EQ(parse_completion_request(R"({"prompt": "s", "stop": "one"})", context).value().stop.size(), 1u);
}

TEST_F(ApiRequestTest, ChatPartsToolsAndKwargsReachTheTemplate) {
  const auto parsed = parse_chat_request(
      R"({"messages": [{"role": "system", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                       {"role": "assistant", "content": null, "tool_calls":
                          [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"z\": 1, \"a\": 2}"}}]},
                       {"role": "tool", "content": "r", "tool_call_id": "1"}],
          "tools": [{"type": "function", "function": {"name": "f", "parameters": {"z": 1, "a": 2}}}],
          "tool_choice": "auto", "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": false}})",
      context);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  const Json given = Json::parse(parts.chat_template->last);
  EXPECT_EQ(given["messages"][0]["content"], "a\nb");
  EXPECT_EQ(given["messages"][1]["tool_calls"][0]["function"]["arguments"].dump(), R"({"z":1,"a":2})");
  EXPECT_EQ(given["tools"][0]["function"]["parameters"].dump(), R"({"z":1,"a":2})");
  EXPECT_EQ(given["enable_thinking"], false);
  EXPECT_EQ(given["reasoning_effort"], "low");
}

TEST_F(ApiRequestTest, ContinueFinalMessage) {
  const auto parsed = parse_chat_request(
      R"({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "I am "}],
          "continue_final_message": true})",
      context);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parts.tokenizer->decode(parsed.value().prompts[0], true), "user:hi;assistant:I am");
}

struct Bad {
  const char* members;
  const char* field;
};

// Members that both kinds of request refuse, with the name they must give.
constexpr Bad kBadMembers[] = {
    {R"("model": 5)", "model"},
    {R"("model": "other")", "model"},
    {R"("model": "../../etc/passwd")", "model"},
    {R"("n": 0)", "n"},
    {R"("n": -1)", "n"},
    {R"("n": 9)", "n"},
    {R"("n": 65)", "n"},
    {R"("n": 1000000)", "n"},
    {R"("n": 2147483648)", "n"},
    {R"("n": 9223372036854775808)", "n"},
    {R"("n": 1e300)", "n"},
    {R"("n": 1.5)", "n"},
    {R"("n": "3")", "n"},
    {R"("n": true)", "n"},
    {R"("n": [1])", "n"},
    {R"("best_of": 0)", "best_of"},
    {R"("best_of": 1000000)", "best_of"},
    {R"("best_of": 2)", "best_of"},
    {R"("best_of": "2")", "best_of"},
    {R"("temperature": -0.1)", "temperature"},
    {R"("temperature": 1e38)", "temperature"},
    {R"("temperature": 101)", "temperature"},
    {R"("temperature": "hot")", "temperature"},
    {R"("temperature": true)", "temperature"},
    {R"("temperature": {})", "temperature"},
    {R"("top_p": 0)", "top_p"},
    {R"("top_p": -1)", "top_p"},
    {R"("top_p": 1.01)", "top_p"},
    {R"("top_p": "1")", "top_p"},
    {R"("min_p": -0.01)", "min_p"},
    {R"("min_p": 1.01)", "min_p"},
    {R"("top_k": -2)", "top_k"},
    {R"("top_k": 1.5)", "top_k"},
    {R"("top_k": 2147483648)", "top_k"},
    {R"("top_k": "5")", "top_k"},
    {R"("repetition_penalty": 0)", "repetition_penalty"},
    {R"("repetition_penalty": -1)", "repetition_penalty"},
    {R"("repetition_penalty": 1e30)", "repetition_penalty"},
    {R"("repetition_penalty": 1e31)", "repetition_penalty"},
    {R"("presence_penalty": 2.01)", "presence_penalty"},
    {R"("presence_penalty": -2.01)", "presence_penalty"},
    {R"("frequency_penalty": 3)", "frequency_penalty"},
    {R"("frequency_penalty": "x")", "frequency_penalty"},
    {R"("seed": 1.5)", "seed"},
    {R"("seed": "1")", "seed"},
    {R"("seed": 9223372036854775808)", "seed"},
    {R"("seed": 1e300)", "seed"},
    {R"("stop": 5)", "stop"},
    {R"("stop": "")", "stop"},
    {R"("stop": [""])", "stop"},
    {R"("stop": ["a", 1])", "stop"},
    {R"("stop": {"a": 1})", "stop"},
    {R"("stop": ["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"])", "stop"},
    {R"("stop_token_ids": 5)", "stop_token_ids"},
    {R"("stop_token_ids": [-1])", "stop_token_ids"},
    {R"("stop_token_ids": [258])", "stop_token_ids"},
    {R"("stop_token_ids": [2147483648])", "stop_token_ids"},
    {R"("stop_token_ids": [9223372036854775808])", "stop_token_ids"},
    {R"("stop_token_ids": ["5"])", "stop_token_ids"},
    {R"("stop_token_ids": [1.5])", "stop_token_ids"},
    {R"("logit_bias": 5)", "logit_bias"},
    {R"("logit_bias": [])", "logit_bias"},
    {R"("logit_bias": {"x": 1})", "logit_bias"},
    {R"("logit_bias": {"-1": 1})", "logit_bias"},
    {R"("logit_bias": {"258": 1})", "logit_bias"},
    {R"("logit_bias": {"2147483648": 1})", "logit_bias"},
    {R"("logit_bias": {"9223372036854775808": 1})", "logit_bias"},
    {R"("logit_bias": {"5": "1"})", "logit_bias"},
    {R"("logit_bias": {"5": 101})", "logit_bias"},
    {R"("logit_bias": {"5": -101})", "logit_bias"},
    {R"("logit_bias": {"5": null})", "logit_bias"},
    {R"("logit_bias": {"": 1})", "logit_bias"},
    {R"("logit_bias": {"5 ": 1})", "logit_bias"},
    {R"("min_tokens": -1)", "min_tokens"},
    {R"("min_tokens": 10, "max_tokens": 5)", "min_tokens"},
    {R"("min_tokens": 2147483648)", "min_tokens"},
    {R"("min_tokens": "1")", "min_tokens"},
    {R"("max_tokens": 0)", "max_tokens"},
    {R"("max_tokens": -1)", "max_tokens"},
    {R"("max_tokens": 513)", "max_tokens"},
    {R"("max_tokens": 2147483647)", "max_tokens"},
    {R"("max_tokens": 2147483648)", "max_tokens"},
    {R"("max_tokens": 4294967297)", "max_tokens"},
    {R"("max_tokens": 1.5)", "max_tokens"},
    {R"("max_tokens": "5")", "max_tokens"},
    {R"("max_tokens": [])", "max_tokens"},
    {R"("ignore_eos": 1)", "ignore_eos"},
    {R"("ignore_eos": "true")", "ignore_eos"},
    {R"("stream": 1)", "stream"},
    {R"("stream": "true")", "stream"},
    {R"("stream_options": {"include_usage": true})", "stream_options"},
    {R"("stream": true, "stream_options": 5)", "stream_options"},
    {R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options.include_usage"},
    {R"("stream": true, "stream_options": {"continuous_usage_stats": "x"})", "stream_options.continuous_usage_stats"},
    {R"("include_stop_str_in_output": 1)", "include_stop_str_in_output"},
    {R"("skip_special_tokens": "no")", "skip_special_tokens"},
    {R"("return_token_ids": 1)", "return_token_ids"},
    {R"("suffix": "end")", "suffix"},
    {R"("response_format": {"type": "structural_tag"})", "response_format.type"},
    {R"("response_format": {"type": "json_schema", "json_schema": {}})", "response_format.json_schema.schema"},
    {R"("response_format": "text")", "response_format"},
    {R"("structured_outputs": {"regex": "("})", "structured_outputs.regex"},
    {R"("structured_outputs": {"structural_tag": "x"})", "structured_outputs.structural_tag"},
    {R"("guided_json": {"not": {}})", "guided_json"},
    {R"("guided_json": 1)", "guided_json"},
    {R"("guided_regex": "(")", "guided_regex"},
    {R"("guided_regex": "a", "guided_choice": ["a"])", "guided_choice"},
    {R"("guided_choice": [])", "guided_choice"},
    {R"("guided_grammar": "x")", "guided_grammar"},
    {R"("grammar": "root ::= x")", "grammar"},
    {R"("json_schema": {"not": {}})", "json_schema"},
    {R"("use_beam_search": true)", "use_beam_search"},
    {R"("length_penalty": 2)", "length_penalty"},
    {R"("bad_words": "x")", "bad_words"},
    {R"("bad_words": [1])", "bad_words"},
    {R"("bad_words": ["x", " "])", "bad_words"},
    {R"("allowed_token_ids": 1)", "allowed_token_ids"},
    {R"("allowed_token_ids": [-1])", "allowed_token_ids"},
    {R"("allowed_token_ids": [1000000])", "allowed_token_ids"},
    {R"("truncate_prompt_tokens": 0)", "truncate_prompt_tokens"},
    {R"("truncate_prompt_tokens": -2)", "truncate_prompt_tokens"},
    {R"("prompt_logprobs": 21)", "prompt_logprobs"},
    {R"("prompt_logprobs": 1, "stream": true)", "prompt_logprobs"},
    {R"("return_tokens_as_token_ids": 1)", "return_tokens_as_token_ids"},
    {R"("prompt_embeds": "x")", "prompt_embeds"},
    {R"("priority": 1)", "priority"},
    {R"("cache_salt": 5)", "cache_salt"},
    {R"("logits_processors": ["x"])", "logits_processors"},
    {R"("thinking_token_budget": -1)", "thinking_token_budget"},
    {R"("mirostat": 2)", "mirostat"},
    {R"("typical_p": 0.5)", "typical_p"},
    {R"("dry_multiplier": 0.8)", "dry_multiplier"},
    {R"("xtc_probability": 0.5)", "xtc_probability"},
};

TEST_F(ApiRequestTest, BadMembersAreRefusedByName) {
  for (const Bad& bad : kBadMembers) {
    refuse(chat(bad.members), bad.field, bad.members);
    refuse(completion(bad.members), bad.field, bad.members);
  }
}

constexpr Bad kBadChat[] = {
    {R"("messages": 5)", "messages"},
    {R"("messages": [])", "messages"},
    {R"("messages": null)", "messages"},
    {R"("messages": {})", "messages"},
    {R"("messages": ["x"])", "messages[0]"},
    {R"("messages": [{}])", "messages[0].role"},
    {R"("messages": [{"role": 5, "content": "x"}])", "messages[0].role"},
    {R"("messages": [{"role": "root", "content": "x"}])", "messages[0].role"},
    {R"("messages": [{"role": "user"}])", "messages[0].content"},
    {R"("messages": [{"role": "user", "content": null}])", "messages[0].content"},
    {R"("messages": [{"role": "user", "content": 5}])", "messages[0].content"},
    {R"("messages": [{"role": "user", "content": [5]}])", "messages[0].content[0]"},
    {R"("messages": [{"role": "user", "content": [{}]}])", "messages[0].content[0].type"},
    {R"("messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}])",
     "messages[0].content[0].type"},
    {R"("messages": [{"role": "user", "content": [{"type": "input_audio"}]}])", "messages[0].content[0].type"},
    {R"("messages": [{"role": "user", "content": [{"type": "file", "file": {"path": "/etc/passwd"}}]}])",
     "messages[0].content[0].type"},
    {R"("messages": [{"role": "user", "content": [{"type": "text"}]}])", "messages[0].content[0].text"},
    {R"("messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}])", "messages[0].content[0].text"},
    {R"("messages": [{"role": "assistant", "tool_calls": 5}])", "messages[0].tool_calls"},
    {R"("messages": [{"role": "assistant", "tool_calls": [5]}])", "messages[0].tool_calls[0].function"},
    {R"("messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}])",
     "messages[0].tool_calls[0].function.name"},
    {R"x("messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "__import__('os')"}}]}])x",
     "messages[0].tool_calls[0].function.arguments"},
    {R"("messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}])",
     "messages[0].tool_calls[0].function.arguments"},
    {R"("messages": [{"role": "user", "content": "raise"}])", "messages"},
};

constexpr Bad kBadChatMembers[] = {
    {R"("max_completion_tokens": 0)", "max_completion_tokens"},
    {R"("max_completion_tokens": "x")", "max_completion_tokens"},
    {R"("max_completion_tokens": 1000)", "max_completion_tokens"},
    {R"("logprobs": 1)", "logprobs"},
    {R"("logprobs": "true")", "logprobs"},
    {R"("top_logprobs": 1)", "top_logprobs"},
    {R"("logprobs": false, "top_logprobs": 1)", "top_logprobs"},
    {R"("logprobs": true, "top_logprobs": -1)", "top_logprobs"},
    {R"("logprobs": true, "top_logprobs": 21)", "top_logprobs"},
    {R"("logprobs": true, "top_logprobs": 2147483648)", "top_logprobs"},
    {R"("logprobs": true, "top_logprobs": 257)", "top_logprobs"},
    {R"("echo": 1)", "echo"},
    {R"("tools": 5)", "tools"},
    {R"("tools": [5])", "tools[0]"},
    {R"("tools": [{"type": 5}])", "tools[0].type"},
    {R"("tools": [{"type": "retrieval"}])", "tools[0].type"},
    {R"("tools": [{"type": "function"}])", "tools[0].function"},
    {R"("tools": [{"type": "function", "function": {}}])", "tools[0].function.name"},
    {R"("tools": [{"type": "function", "function": {"name": ""}}])", "tools[0].function.name"},
    {R"("tools": [{"type": "function", "function": {"name": 5}}])", "tools[0].function.name"},
    {R"("tool_choice": "required")", "tool_choice"},
    {R"("tool_choice": {"type": "function", "function": {"name": "f"}})", "tool_choice"},
    {R"("tool_choice": 5)", "tool_choice"},
    {R"("chat_template": "{{ 1 }}")", "chat_template"},
    {R"("chat_template_kwargs": 5)", "chat_template_kwargs"},
    {R"("chat_template_kwargs": {"messages": []})", "chat_template_kwargs"},
    {R"("chat_template_kwargs": {"tokenize": true})", "chat_template_kwargs"},
    {R"("chat_template_kwargs": {"tools": []})", "chat_template_kwargs"},
    {R"("chat_template_kwargs": {"add_generation_prompt": false})", "chat_template_kwargs"},
    {R"("chat_template_kwargs": {"bos_token": "x"})", "chat_template_kwargs"},
    {R"("chat_template_kwargs": {"raise_exception": "x"})", "chat_template_kwargs"},
    {R"("add_generation_prompt": 1)", "add_generation_prompt"},
    {R"("continue_final_message": 1)", "continue_final_message"},
    {R"("continue_final_message": true, "add_generation_prompt": true)", "continue_final_message"},
    {R"("documents": 5)", "documents"},
    {R"("reasoning_effort": 5)", "reasoning_effort"},
    {R"("functions": [{"name": "f"}])", "functions"},
    {R"("function_call": {"name": "f"})", "function_call"},
    {R"("modalities": ["text", "audio"])", "modalities"},
    {R"("audio": {"voice": "x"})", "audio"},
    {R"("web_search_options": {})", "web_search_options"},
};

constexpr Bad kBadCompletion[] = {
    {R"("prompt": null)", "prompt"},
    {R"("prompt": 5)", "prompt"},
    {R"("prompt": {})", "prompt"},
    {R"("prompt": true)", "prompt"},
    {R"("prompt": "")", "prompt"},
    {R"("prompt": [])", "prompt"},
    {R"("prompt": [[]])", "prompt"},
    {R"("prompt": [""])", "prompt"},
    {R"("prompt": [null])", "prompt"},
    {R"("prompt": ["a", 1])", "prompt"},
    {R"("prompt": [1, "a"])", "prompt"},
    {R"("prompt": [[1], "a"])", "prompt"},
    {R"("prompt": [-1])", "prompt"},
    {R"("prompt": [258])", "prompt"},
    {R"("prompt": [2147483648])", "prompt"},
    {R"("prompt": [9223372036854775808])", "prompt"},
    {R"("prompt": [1.5])", "prompt"},
    {R"("prompt": [[1], [258]])", "prompt[1]"},
    {R"("prompt": [[1], [true]])", "prompt[1]"},
    {R"("prompt": "x", "logprobs": true)", "logprobs"},
    {R"("prompt": "x", "logprobs": -1)", "logprobs"},
    {R"("prompt": "x", "logprobs": 21)", "logprobs"},
    {R"("prompt": "x", "logprobs": 257)", "logprobs"},
    {R"("prompt": "x", "echo": 1)", "echo"},
    {R"("prompt": "x", "add_special_tokens": 1)", "add_special_tokens"},
};

TEST_F(ApiRequestTest, BadChatsAreRefusedByName) {
  for (const Bad& bad : kBadChat) {
    refuse(parse_chat_request("{" + std::string(bad.members) + "}", context), bad.field, bad.members);
  }
  for (const Bad& bad : kBadChatMembers) refuse(chat(bad.members), bad.field, bad.members);
}

TEST_F(ApiRequestTest, BadCompletionsAreRefusedByName) {
  for (const Bad& bad : kBadCompletion) {
    refuse(parse_completion_request("{" + std::string(bad.members) + "}", context), bad.field, bad.members);
  }
}

TEST_F(ApiRequestTest, NeutralValuesOfUnsupportedFieldsAreTaken) {
  for (const char* members : {R"("suffix": null)", R"("response_format": {"type": "text"})", R"("bad_words": [])",
                              R"("use_beam_search": false)", R"("priority": 0)", R"("length_penalty": 1.0)",
                              R"("n": null)", R"("stop": null)", R"("stop": [])", R"("logit_bias": {})",
                              R"("max_tokens": null)", R"("seed": null)", R"("model": "demo")", R"("model": "")"}) {
    EXPECT_TRUE(chat(members).ok()) << members;
    EXPECT_TRUE(completion(members).ok()) << members;
  }
}

TEST_F(ApiRequestTest, PrioritiesAreForThePolicyThatLooksAtThem) {
  EXPECT_EQ(chat(R"("priority": 7)").status().code(), Code::kUnimplemented);
  context.priorities = true;
  EXPECT_EQ(chat(R"("priority": -7)")->priority, -7);
  EXPECT_EQ(completion(R"("priority": 3)")->priority, 3);
  EXPECT_EQ(completion(R"("priority": null)")->priority, 0);
  refuse(chat(R"("priority": "high")"), "priority", "a word");
  refuse(chat(R"("priority": 2147483648)"), "priority", "beyond 32 bits");
}

TEST_F(ApiRequestTest, BadJsonIsRefused) {
  for (const std::string& body :
       {std::string(), std::string("nonsense"), std::string("[]"), std::string("5"), std::string("null"),
        std::string("{"), std::string(R"({"prompt": "x"} trailing)"), std::string("{\"prompt\": \"x\"}\0junk", 20),
        std::string(R"({"prompt": "x", "temperature": NaN})"), std::string(R"({"prompt": "x", "temperature": 1e999})"),
        std::string(R"({"prompt": "x", "temperature": Infinity})"), std::string("{\"prompt\": \"\xff\xfe\"}"),
        std::string("{\"prompt\": \"\xC0\xAF\"}"), std::string(R"({"prompt": "\ud800"})"),
        std::string(R"({'prompt': 'x'})"), std::string(1000000, '['),
        std::string("{\"a\":") + std::string(100000, '[') + std::string(100000, ']') + "}",
        std::string("{\"prompt\": \"x\", \"temperature\": 1") + std::string(100000, '0') + "}"}) {
    const auto result = parse_completion_request(body, context);
    ASSERT_FALSE(result.ok()) << body.substr(0, 50);
    EXPECT_EQ(api_error(result.status()).status, 400);
    EXPECT_LT(result.status().message().size(), 300u);
  }
}

std::string repeated(const std::string& open, const std::string& item, std::size_t count, const std::string& close) {
  std::string text = open;
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ",") + item;
  return text + close;
}

TEST_F(ApiRequestTest, BombsAreRefusedByName) {
  refuse(completion("\"stop\": " + repeated("[", "\"a\"", 100000, "]")), "stop", "10^5 stop strings");
  refuse(completion("\"stop\": \"" + std::string(1000000, 'a') + "\""), "stop", "1 MB stop string");
  refuse(completion("\"stop_token_ids\": " + repeated("[", "1", 1000000, "]")), "stop_token_ids", "10^6 stop ids");
  std::string bias = "{";
  for (int i = 0; i < 100000; ++i) bias += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":1";
  refuse(completion("\"logit_bias\": " + bias + "}"), "logit_bias", "10^5 biases");
  refuse(chat("\"chat_template_kwargs\": " + bias + "}"), "chat_template_kwargs", "10^5 kwargs");
  refuse(chat("\"tools\": " + repeated("[", "{}", 100000, "]")), "tools", "10^5 tools");
  const auto messages = repeated(R"({"messages": [)", R"({"role":"user","content":"x"})", 100000, "]}");
  refuse(parse_chat_request(messages, context), "messages", "10^5 messages");
  const auto prompts = repeated(R"({"prompt": [)", "\"x\"", 100000, "]}");
  refuse(parse_completion_request(prompts, context), "prompt", "10^5 prompts");
  refuse(parse_completion_request("{\"prompt\": \"" + std::string(513, 'a') + "\"}", context), "prompt", "long prompt");
  refuse(parse_completion_request("{\"prompt\": " + repeated("[", "1", 513, "]") + "}", context), "prompt", "many ids");
}

TEST_F(ApiRequestTest, LengthsAtTheEdge) {
  for (const int prompt : {510, 511, 512, 513}) {
    const std::string body =
        "{\"max_tokens\": 1, \"prompt\": \"" + std::string(static_cast<std::size_t>(prompt), 'a') + "\"}";
    EXPECT_EQ(parse_completion_request(body, context).ok(), prompt <= 511) << prompt;
  }
  EXPECT_TRUE(completion(R"("max_tokens": 510)").ok());
  EXPECT_FALSE(completion(R"("max_tokens": 511)").ok());
}

TEST(JsonGuard, DepthAndMembers) {
  EXPECT_TRUE(check_json_shape(std::string(64, '[')).ok());
  EXPECT_FALSE(check_json_shape(std::string(65, '[')).ok());
  EXPECT_TRUE(
      check_json_shape(R"({"a": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["})").ok());
  EXPECT_TRUE(check_json_shape("\"\\").ok());
  std::string wide = "{\"field\": {";
  for (int i = 0; i < 20000; ++i) wide += "\"k" + std::to_string(i) + "\":0,";
  const Status status = check_json_shape(wide);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.field(), "field");
}

TEST_F(ApiRequestTest, TokenizeAndDetokenize) {
  EXPECT_EQ(Json::parse(tokenize_body(R"({"prompt": "ab"})", context).value())["tokens"].dump(), "[97,98]");
  EXPECT_EQ(Json::parse(tokenize_body(R"({"messages": [{"role": "user", "content": "a"}]})", context).value())["count"],
            17);
  EXPECT_EQ(Json::parse(detokenize_body(R"({"tokens": [97, 98]})", context).value())["prompt"], "ab");
  EXPECT_FALSE(tokenize_body(R"({"prompt": 5})", context).ok());
  EXPECT_FALSE(detokenize_body(R"({"tokens": [999]})", context).ok());
  EXPECT_FALSE(detokenize_body(R"({})", context).ok());
}

}  // namespace
}  // namespace foregate
