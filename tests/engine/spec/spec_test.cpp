// Drafts from prompt lookup, how far a draft stands, and what --speculative-config may say.
#include <gtest/gtest.h>

#include <optional>

#include "engine/spec/ngram_drafter.h"
#include "engine/spec/spec_config.h"
#include "engine/spec/verify.h"

namespace foregate {
namespace {

using Tokens = std::vector<Token>;

TEST(LookupDraft, GoesOnAfterTheLongestSuffix) {
  const std::vector<Token> tokens = {1, 2, 3, 4, 5, 9, 3, 6, 7, 1, 2, 3};
  EXPECT_EQ(lookup_draft(tokens, 1, 3, 3), (Tokens{4, 5, 9}));  // 1 2 3 beats the nearer 3
  EXPECT_EQ(lookup_draft(tokens, 1, 1, 3), (Tokens{6, 7, 1}));  // of one token, the nearest
  EXPECT_EQ(lookup_draft(tokens, 4, 5, 3), Tokens{});           // four tokens never repeat
  EXPECT_EQ(lookup_draft(tokens, 1, 3, 1), (Tokens{4}));
}

TEST(LookupDraft, ARepetitionGoesOnPastTheEnd) {
  EXPECT_EQ(lookup_draft(std::vector<Token>{5, 5, 5}, 1, 2, 4), (Tokens{5, 5, 5, 5}));
  EXPECT_EQ(lookup_draft(std::vector<Token>{8, 1, 2, 3, 1, 2, 3}, 2, 3, 7), (Tokens{1, 2, 3, 1, 2, 3, 1}));
}

TEST(LookupDraft, DeclinesWithoutARepetition) {
  EXPECT_TRUE(lookup_draft({}, 1, 3, 4).empty());
  EXPECT_TRUE(lookup_draft(std::vector<Token>{1}, 1, 3, 4).empty());
  EXPECT_TRUE(lookup_draft(std::vector<Token>{1, 2, 3}, 1, 3, 4).empty());
  EXPECT_TRUE(lookup_draft(std::vector<Token>{1, 1}, 1, 3, 0).empty());
}

std::size_t stand(const Tokens& draft, const std::vector<Token>& chosen, std::size_t* asked) {
  *asked = 0;
  return verify_chain(draft, [&](std::size_t row) -> std::optional<Token> {
    EXPECT_EQ(row, (*asked)++);
    return row < chosen.size() ? std::optional(chosen[row]) : std::nullopt;
  });
}

TEST(VerifyChain, AsksOnlyRowsWhoseInputWasRight) {
  std::size_t asked = 0;
  EXPECT_EQ(stand({}, {4}, &asked), 0u);
  EXPECT_EQ(asked, 1u);
  EXPECT_EQ(stand({4, 5, 6}, {4, 5, 6, 7}, &asked), 3u);
  EXPECT_EQ(asked, 4u);
  EXPECT_EQ(stand({4, 5, 6}, {4, 9, 6, 7}, &asked), 1u);
  EXPECT_EQ(asked, 2u);
  EXPECT_EQ(stand({4, 5, 6}, {9, 5, 6, 7}, &asked), 0u);
  EXPECT_EQ(asked, 1u);
  EXPECT_EQ(stand({4, 5, 6}, {4, 5}, &asked), 2u);  // the sample ended at row 2
  EXPECT_EQ(asked, 3u);
}

TEST(SpecConfig, TakesWhatVllmTakes) {
  EXPECT_EQ(parse_spec_config("")->method, SpecMethod::kOff);
  auto config = parse_spec_config(
      R"({"method": "ngram", "num_speculative_tokens": 7, "prompt_lookup_min": 2, "prompt_lookup_max": 6})");
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->method, SpecMethod::kNgram);
  EXPECT_EQ(config->num_speculative_tokens, 7);
  EXPECT_EQ(config->prompt_lookup_min, 2);
  EXPECT_EQ(config->prompt_lookup_max, 6);
  config = parse_spec_config(R"({"model": "[ngram]", "prompt_lookup_max": 4})");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->prompt_lookup_min, 4);
  config = parse_spec_config(R"({"method": "draft_model", "model": "d", "adaptive": false})");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->method, SpecMethod::kDraftModel);
  EXPECT_EQ(config->model, "d");
  EXPECT_FALSE(config->adaptive);
  config = parse_spec_config(R"({"method": "suffix", "suffix_decoding_max_tree_depth": 12,
      "suffix_decoding_max_cached_requests": 0, "suffix_decoding_max_spec_factor": 2.5,
      "suffix_decoding_min_token_prob": 0.25})");
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->method, SpecMethod::kSuffix);
  EXPECT_EQ(config->num_speculative_tokens, 12);
  EXPECT_EQ(config->suffix.max_cached_requests, 0);
  EXPECT_EQ(config->suffix.max_spec_factor, 2.5);
  EXPECT_EQ(config->suffix.min_token_prob, 0.25);
  config = parse_spec_config(R"({"method": "self", "num_experts": 3})");
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->method, SpecMethod::kSelf);
  EXPECT_EQ(config->num_experts, 3);
  for (const char* method : {"mtp", "nextn", "deepseek_mtp", "glm4_moe_mtp"}) {
    config = parse_spec_config(std::string(R"({"method": ")") + method + R"(", "num_speculative_tokens": 2})");
    ASSERT_TRUE(config.ok()) << config.status().to_string();
    EXPECT_EQ(config->method, SpecMethod::kMtp);
    EXPECT_EQ(config->model, "");
  }
  config = parse_spec_config(R"({"method": "mtp", "model": "d", "quantization": "none"})");
  ASSERT_TRUE(config.ok()) << config.status().to_string();
  EXPECT_EQ(config->model, "d");
  EXPECT_EQ(config->quantization, "none");
  EXPECT_EQ(config->token_map, "");
  config = parse_spec_config(R"({"method": "draft_model", "model": "d", "speculative_token_map": "f"})");
  EXPECT_EQ(config->token_map, "f");
}

void expect_refused(const char* json, const char* named) {
  const Status status = parse_spec_config(json).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << json;
  EXPECT_NE(status.message().find(named), std::string::npos) << status.message();
}

TEST(SpecConfig, RefusesByName) {
  expect_refused(R"({"method": "ngram", "quantization": "q8_0"})", "quantization");
  expect_refused(R"({"method": "ngram", "draft_tensor_parallel_size": 1})", "draft_tensor_parallel_size");
  expect_refused(R"({"method": "medusa"})", "medusa");
  expect_refused(R"({"num_speculative_tokens": 3})", "method");
  expect_refused(R"({"method": "ngram", "num_speculative_tokens": 0})", "num_speculative_tokens");
  expect_refused(R"({"method": "ngram", "num_speculative_tokens": 33})", "num_speculative_tokens");
  expect_refused(R"({"method": "ngram", "num_speculative_tokens": 2.5})", "num_speculative_tokens");
  expect_refused(R"({"method": "ngram", "num_speculative_tokens": 99999999999999999999})", "num_speculative_tokens");
  expect_refused(R"({"method": "ngram", "prompt_lookup_min": 5, "prompt_lookup_max": 2})", "prompt_lookup_min");
  expect_refused(R"({"method": "ngram", "prompt_lookup_max": "4"})", "prompt_lookup_max");
  expect_refused(R"({"method": "ngram", "model": "x"})", "model");
  expect_refused(R"({"method": 3})", "method");
  expect_refused(R"({"method": "draft_model"})", "model");
  expect_refused(R"({"method": "ngram", "adaptive": 1})", "adaptive");
  expect_refused(R"({"method": "suffix", "model": "x"})", "model");
  expect_refused(R"({"method": "suffix", "suffix_decoding_min_token_prob": 1.5})", "suffix_decoding_min_token_prob");
  expect_refused(R"({"method": "suffix", "suffix_decoding_max_tree_depth": 0})", "suffix_decoding_max_tree_depth");
  expect_refused(R"({"method": "suffix", "suffix_decoding_max_cached_requests": -1})", "suffix_decoding_max_cached");
  expect_refused(R"({"method": "suffix", "suffix_decoding_max_spec_factor": "2"})", "suffix_decoding_max_spec_factor");
  expect_refused(R"({"method": "self"})", "num_experts");
  expect_refused(R"({"method": "self", "num_experts": 0})", "num_experts");
  expect_refused(R"({"method": "self", "num_experts": 1, "model": "x"})", "model");
  expect_refused(R"({"method": "ngram", "num_experts": 1})", "num_experts");
  expect_refused(R"({"method": "ngram", "speculative_token_map": "f"})", "speculative_token_map");
  expect_refused(R"({"method": "draft_model", "model": "d", "speculative_token_map": [1]})", "speculative_token_map");
  expect_refused("[1]", "object");
  expect_refused("{", "JSON");
}

}  // namespace
}  // namespace foregate
