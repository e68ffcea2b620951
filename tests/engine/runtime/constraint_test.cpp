// Outputs held to a form: every token fits, batched and preempted runs give what each gives alone, and a request
// without a form is not touched. The stub model's 64 ids are letters, digits and brackets here.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "engine/grammar/compile.h"
#include "tests/engine/runtime/harness.h"

namespace foregate {
namespace {

using namespace testing_support;

const std::string kLetters =
    "abcdefg#hijklmnopqrstuvwxyz0123456789{}[]:,\"-.+()<>=!?*/_ ABCDEFGH";  // '#' stands for the end

grammar::Vocabulary letters() {
  grammar::Vocabulary vocabulary;
  for (Token id = 0; id < kVocab; ++id) {
    vocabulary.tokens.push_back(id == kEos ? "" : std::string(1, kLetters[static_cast<std::size_t>(id)]));
  }
  vocabulary.end_ids = {kEos};
  return vocabulary;
}

std::string text_of(const SampleLog& log) {
  std::string text;
  for (const Token id : log.tokens) text.push_back(kLetters[static_cast<std::size_t>(id)]);
  return text;
}

Request formed(std::uint64_t id, const std::shared_ptr<const TokenConstraint>& form, float temperature) {
  Request request = make_request(id, random_prompt(id, 5 + static_cast<std::int32_t>(id % 7)), 60);
  request.sampling.temperature = temperature;
  request.sampling.seed = id;
  request.constraint = form;
  return request;
}

class Forms : public testing::Test {
 protected:
  std::shared_ptr<const TokenConstraint> form(GrammarSpec::Kind kind, const std::string& text) {
    auto made = compiler_.compile({kind, text});
    CHECK(made.ok());
    return *made;
  }
  SampleLog run(Engine& engine, const Request& request) {
    auto sink = std::make_shared<CollectSink>();
    CHECK(engine.submit(request, sink).ok());
    CHECK(sink->wait_finished(1));
    return sink->log();
  }
  GrammarCompiler compiler_{letters()};
};

TEST_F(Forms, OutputsFitAndEnd) {
  auto engine = stub_engine(EngineSetup());
  const auto choice = form(GrammarSpec::Kind::kChoice, R"(["yes", "no", "{}"])");
  const auto list = form(GrammarSpec::Kind::kGbnf, "root ::= \"[\" item (\",\" item){3,3} \"]\"\nitem ::= [0-9]{1,3}");
  for (std::uint64_t id = 1; id <= 40; ++id) {
    Request request = formed(id, id % 2 == 0 ? choice : list, id % 3 == 0 ? 0.0f : 1.0f);
    request.sampling.ignore_eos = id % 5 == 0;  // does not keep a finished form open
    const SampleLog log = run(*engine, request);
    EXPECT_EQ(log.finish, FinishReason::kStop) << log.error.to_string();
    const std::string text = text_of(log);
    if (id % 2 == 0) {
      EXPECT_TRUE(text == "yes" || text == "no" || text == "{}") << text;
    } else {
      EXPECT_EQ(std::count(text.begin(), text.end(), ','), 3) << text;
      EXPECT_EQ(text.find_first_not_of("[0123456789,]"), std::string::npos) << text;
      EXPECT_EQ(text.back(), ']');
    }
  }
  EXPECT_GT(compiler_.figures().masks_computed, 5u);
}

TEST_F(Forms, TheEndComesOnlyWhereItMay) {
  auto engine = stub_engine(EngineSetup());
  const auto open = form(GrammarSpec::Kind::kRegex, "[a-e]{8,}");  // the stub meets its end id often
  int stopped = 0;
  for (std::uint64_t id = 1; id <= 60; ++id) {
    Request request = formed(id, open, 1.0f);
    request.sampling.logit_bias = {{kEos, 20.0f}};
    const SampleLog log = run(*engine, request);
    EXPECT_GE(log.tokens.size(), 8u);
    stopped += log.finish == FinishReason::kStop ? 1 : 0;
  }
  EXPECT_GT(stopped, 50);
}

TEST_F(Forms, TogetherAndPreemptedIsAsAlone) {
  const auto object =
      form(GrammarSpec::Kind::kGbnf, "root ::= \"{\" [a-z]{4,20} \":\" value \"}\"\nvalue ::= [0-9]{6,20} | root");
  std::vector<SampleLog> alone;
  {
    auto engine = stub_engine(EngineSetup());
    for (std::uint64_t id = 1; id <= 12; ++id)
      alone.push_back(run(*engine, formed(id, id % 4 == 0 ? nullptr : object, 1.0f)));
  }
  EngineSetup tight;
  tight.num_blocks = 40;  // four of them do not fit to their ends
  auto engine = stub_engine(tight);
  std::vector<std::shared_ptr<CollectSink>> sinks;
  for (std::uint64_t id = 1; id <= 12; ++id) {
    sinks.push_back(std::make_shared<CollectSink>());
    ASSERT_TRUE(engine->submit(formed(id, id % 4 == 0 ? nullptr : object, 1.0f), sinks.back()).ok());
  }
  for (std::size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->wait_finished(1));
    EXPECT_EQ(sinks[i]->log().tokens, alone[i].tokens) << i;
    EXPECT_EQ(sinks[i]->log().finish, alone[i].finish) << i;
  }
  ASSERT_TRUE(wait_idle(*engine));
  EXPECT_GT(engine->stats().preemptions, 0u);
  EXPECT_GT(engine->stats().batched_steps, 0u);
  // Without a form: what the model says by itself.
  const Request plain = formed(4, nullptr, 1.0f);
  EXPECT_EQ(alone[3].tokens, expected_answer(plain, 0).tokens);
}

TEST_F(Forms, NoTokenLeftEndsTheSampleAlone) {
  auto engine = stub_engine(EngineSetup());
  Request request = formed(1, form(GrammarSpec::Kind::kChoice, R"(["\u00e9"])"), 1.0f);  // no token spells it
  const SampleLog log = run(*engine, request);
  EXPECT_EQ(log.finish, FinishReason::kError);
  EXPECT_EQ(log.error.code(), Code::kInvalidArgument);
  EXPECT_EQ(run(*engine, formed(2, form(GrammarSpec::Kind::kChoice, R"(["ok"])"), 1.0f)).finish, FinishReason::kStop);
}

}  // namespace
}  // namespace foregate
