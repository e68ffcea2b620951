// Fields about single tokens and lengths of prompts: what becomes of them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/openai/api_request.h"
#include "tests/server/fake_engine.h"

namespace foregate {
namespace {

using Json = nlohmann::ordered_json;

struct TokenFieldsTest : testing::Test {
  test::FakeParts parts;
  ApiContext& context = parts.backend->context;

  Result<ApiRequest> chat(const std::string& members) {
    return parse_chat_request(R"({"messages": [{"role": "user", "content": "hi"}], )" + members + "}", context);
  }
  Result<ApiRequest> completion(const std::string& members) {
    return parse_completion_request(R"({"prompt": "hi", )" + members + "}", context);
  }
};

TEST_F(TokenFieldsTest, RulesForTokensArrive) {
  const auto parsed = completion(
      R"("allowed_token_ids": [7, 5], "bad_words": ["ab"], "prompt_logprobs": 3, "return_tokens_as_token_ids": true)");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->sampling.allowed_token_ids, (std::vector<Token>{7, 5}));
  const auto alone = context.tokenizer->encode("ab", {}).value();
  const auto behind = context.tokenizer->encode(" ab", {}).value();
  EXPECT_EQ(parsed->sampling.bad_words, (std::vector<std::vector<Token>>{alone, behind}));
  EXPECT_EQ(parsed->prompt_logprobs, 3);
  EXPECT_TRUE(parsed->tokens_as_ids);
}

TEST_F(TokenFieldsTest, PromptsAreCutFromTheFront) {
  const auto three =
      parse_completion_request(R"({"prompt": [[1, 2, 3, 4, 5], [6]], "truncate_prompt_tokens": 3})", context);
  ASSERT_TRUE(three.ok()) << three.status().message();
  EXPECT_EQ(three->prompts, (std::vector<std::vector<Token>>{{3, 4, 5}, {6}}));
  Json body = {{"prompt", std::vector<Token>(static_cast<std::size_t>(context.limits.max_model_len) + 100, 1)},
               {"max_tokens", 10}};
  EXPECT_FALSE(parse_completion_request(body.dump(), context).ok());
  body["truncate_prompt_tokens"] = -1;
  const auto fits = parse_completion_request(body.dump(), context);
  ASSERT_TRUE(fits.ok()) << fits.status().message();
  EXPECT_EQ(fits->prompts[0].size(), static_cast<std::size_t>(context.limits.max_model_len) - 10);
}

TEST_F(TokenFieldsTest, ThinkingBudgetsNeedMarks) {
  EXPECT_EQ(completion(R"("thinking_token_budget": 5)").status().field(), "thinking_token_budget");
  context.reasoning_format = ReasoningFormat::kThink;
  const auto parsed = chat(R"("thinking_token_budget": 5)");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  ASSERT_TRUE(parsed->sampling.thinking.has_value());
  EXPECT_EQ(parsed->sampling.thinking->tokens, 5);
  EXPECT_FALSE(parsed->sampling.thinking->begun);
  EXPECT_EQ(parsed->sampling.thinking->close, context.tokenizer->encode("</think>", {}).value());
  EXPECT_FALSE(chat(R"("thinking_token_budget": -1)").ok());
}

}  // namespace
}  // namespace foregate
