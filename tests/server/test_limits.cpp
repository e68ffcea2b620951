// Every row of the table of limits: one more than it says is answered as it says, and as many as it says are not. A row
// that is neither asked for here nor named as checked elsewhere fails.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>

#include "engine/api/limits.h"
#include "engine/grammar/compile.h"
#include "server/batch/batch_line.h"
#include "server/config/limits_table.h"
#include "server/openai/api_error.h"
#include "server/openai/api_request.h"
#include "server/openai/json_guard.h"
#include "tests/server/fake_engine.h"

namespace foregate {
namespace {

std::string list_of(const std::string& item, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ",") + item;
  return "[" + text + "]";
}

std::string members(std::size_t count, const std::function<std::string(std::size_t)>& one) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ",") + one(i);
  return text;
}

std::string nested(const std::string& open, const std::string& inside, const std::string& close, std::size_t depth) {
  std::string text;
  for (std::size_t i = 0; i < depth; ++i) text += open;
  text += inside;
  for (std::size_t i = 0; i < depth; ++i) text += close;
  return text;
}

struct LimitsTest : testing::Test {
  using Probe = std::function<Status(std::size_t count)>;
  test::FakeParts parts;
  ApiContext& context = parts.backend->context;
  std::map<std::string, Probe> probes;

  LimitsTest() {
    context.limits.max_model_len = 1 << 20;
    add_fields();
    add_chats();
    add_bodies();
    add_forms();
    probes["kMaxCustomIdBytes"] = [](std::size_t n) {
      std::string id;
      return parse_batch_line(R"({"custom_id": ")" + std::string(n, 'a') +
                                  R"(", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}})",
                              0, &id)
          .status();
    };
  }

  Status completion(const std::string& text) {
    return parse_completion_request(R"({"prompt": "hi", )" + text + "}", context).status();
  }
  Status chat(const std::string& text) {
    return parse_chat_request(R"({"messages": [{"role": "user", "content": "hi"}], )" + text + "}", context).status();
  }
  void field(const char* row, std::function<std::string(std::size_t)> text) {
    probes[row] = [this, text](std::size_t n) { return completion(text(n)); };
  }
  void chat_field(const char* row, std::function<std::string(std::size_t)> text) {
    probes[row] = [this, text](std::size_t n) { return chat(text(n)); };
  }

  void add_fields() {
    field("kMaxSamples", [](std::size_t n) { return "\"n\": " + std::to_string(n); });
    field("kMaxLogprobs", [](std::size_t n) { return "\"logprobs\": " + std::to_string(n); });
    field("kMaxAllowedIds", [](std::size_t n) { return "\"allowed_token_ids\": " + list_of("5", n); });
    field("kMaxBadWords", [](std::size_t n) { return "\"bad_words\": " + list_of("\"a\"", n); });
    field("kMaxBadWordBytes", [](std::size_t n) { return "\"bad_words\": [\"" + std::string(n, 'a') + "\"]"; });
    field("kMaxStopIds", [](std::size_t n) { return "\"stop_token_ids\": " + list_of("5", n); });
    field("kMaxStopStrings", [](std::size_t n) { return "\"stop\": " + list_of("\"a\"", n); });
    field("kMaxStopBytes", [](std::size_t n) { return "\"stop\": \"" + std::string(n, 'a') + "\""; });
    field("kMaxSaltBytes", [](std::size_t n) { return "\"cache_salt\": \"" + std::string(n, 'a') + "\""; });
    field("kMaxModelNameBytes", [](std::size_t n) { return "\"model\": \"" + std::string(n, 'a') + "\""; });
    context.limits.vocab_size = 1 << 20;
    field("kMaxLogitBias", [](std::size_t n) {
      return "\"logit_bias\": {" + members(n, [](std::size_t i) { return "\"" + std::to_string(i) + "\": 1"; }) + "}";
    });
    probes["kMaxPrompts"] = [this](std::size_t n) {
      return parse_completion_request("{\"prompt\": " + list_of("\"x\"", n) + "}", context).status();
    };
  }

  void add_chats() {
    const auto message = [this](const std::string& rest) {
      return parse_chat_request(R"({"messages": [{"role": "user", "content": "hi"}, )" + rest + "]}", context).status();
    };
    probes["kMaxMessages"] = [this](std::size_t n) {
      return parse_chat_request("{\"messages\": " + list_of(R"({"role": "user", "content": "x"})", n) + "}", context)
          .status();
    };
    probes["kMaxParts"] = [message](std::size_t n) {
      return message(R"({"role": "user", "content": )" + list_of(R"({"type": "text", "text": "x"})", n) + "}");
    };
    probes["kMaxToolCalls"] = [message](std::size_t n) {
      return message(R"({"role": "assistant", "content": "", "tool_calls": )" +
                     list_of(R"({"type": "function", "id": "a", "function": {"name": "f", "arguments": "{}"}})", n) +
                     "}");
    };
    const auto tool = [](const std::string& name) {
      return R"({"type": "function", "function": {"name": ")" + name + "\"}}";
    };
    chat_field("kMaxTools", [tool](std::size_t n) {
      return "\"tools\": [" + members(n, [&](std::size_t i) { return tool("f" + std::to_string(i)); }) + "]";
    });
    chat_field("kMaxToolNameBytes", [tool](std::size_t n) { return "\"tools\": [" + tool(std::string(n, 'f')) + "]"; });
    chat_field("kMaxTemplateKwargs", [](std::size_t n) {
      return "\"chat_template_kwargs\": {" +
             members(n, [](std::size_t i) { return "\"k" + std::to_string(i) + "\": 1"; }) + "}";
    });
  }

  void add_bodies() {
    probes["kMaxJsonDepth"] = [](std::size_t n) { return check_json_shape(nested("[", "", "]", n)); };
    probes["kMaxJsonValues"] = [](std::size_t n) { return check_json_shape(list_of("1", n + 1)); };
    probes["kMaxJsonMemberCost"] = [](std::size_t n) {  // the largest object whose square is not above n, then one more
      std::size_t count = 1;
      while ((count + 1) * (count + 1) <= n) ++count;
      if (n > kMaxJsonMemberCost) ++count;
      return check_json_shape("{" + members(count, [](std::size_t) { return "\"a\":1"; }) + "}");
    };
  }

  Status compiled(GrammarSpec::Kind kind, const std::string& text) {
    return context.grammars->compile({kind, text}).status();
  }

  void add_forms() {
    using Kind = GrammarSpec::Kind;
    probes["kMaxFormBytes"] = [this](std::size_t n) {
      return compiled(Kind::kJsonSchema, "{\"description\":\"" + std::string(n - 18, 'a') + "\"}");
    };
    probes["kMaxFormDepth"] = [this](std::size_t n) { return compiled(Kind::kRegex, nested("(", "a", ")", n)); };
    probes["kMaxFormChoices"] = [this](std::size_t n) {
      return compiled(Kind::kChoice,
                      "[" + members(n, [](std::size_t i) { return "\"" + std::to_string(i) + "\""; }) + "]");
    };
    probes["kMaxFormValues"] = [this](std::size_t n) {
      return compiled(Kind::kJsonSchema,
                      "{\"enum\": [" + members(n, [](std::size_t i) { return std::to_string(i); }) + "]}");
    };
    probes["kMaxFormMembers"] = [this](std::size_t n) {
      return compiled(Kind::kJsonSchema, "{\"required\": [" + members(n, [](std::size_t i) {
                                           return "\"" + std::to_string(i) + "\"";
                                         }) + "]}");
    };
    probes["kMaxFormRepeats"] = [this](std::size_t n) {
      return compiled(Kind::kRegex, "a{0," + std::to_string(n) + "}");
    };
    probes["kMaxFormLength"] = [this](std::size_t n) {
      return compiled(Kind::kJsonSchema, R"({"type": "string", "maxLength": )" + std::to_string(n) + "}");
    };
  }
};

// Limits of connections and files: what holds them is not a request's text.
const std::map<std::string, std::string> kElsewhere = {
    {"kMaxPipelinedBytes", "nobody is refused"},
    {"kMaxDraftDepth", "tests/engine/spec/tree_test.cpp"},
    {"kMaxDraftNodes", "tests/engine/spec/tree_test.cpp"},
    {"kMaxDraftTreeBytes", "tests/engine/spec/tree_test.cpp"},
    {"kMaxTokenMapBytes", "tests/engine/spec/token_map_test.cpp"},
    {"kMaxChunkHeaderBytes", "tests/e2e/test_wire.py"},
    {"kMaxGrpcStreams", "the gRPC library"},
    {"kMaxGrpcMetadataBytes", "the gRPC library"},
    {"kMaxRequestIdBytes", "tests/server/test_grpc.cpp"},
    {"kMaxBatchLineBytes", "tests/server/test_batch.cpp"},
};

std::size_t number_of(const LimitRow& row) {
  return static_cast<std::size_t>(std::stoull(row.initial));
}

TEST_F(LimitsTest, EachIsEnforcedAtItsNumber) {
  int asked = 0;
  for (const LimitRow& row : limit_rows()) {
    const std::string name(row.name);
    if (row.option || kElsewhere.contains(name)) continue;
    ASSERT_TRUE(probes.contains(name)) << name << " has no test";
    const std::size_t most = number_of(row);
    const Status above = probes[name](most + 1);
    ASSERT_FALSE(above.ok()) << name;
    const Status within = probes[name](most);
    EXPECT_TRUE(within.ok() || within.message() != above.message()) << name << ": " << within.message();
    if (row.answer == "400") {
      EXPECT_EQ(api_error(above).status, 400) << name << ": " << above.message();
    }
    ++asked;
  }
  EXPECT_EQ(static_cast<std::size_t>(asked), probes.size()) << "a test for a limit that there is not";
}

TEST_F(LimitsTest, OptionsAreShownWithTheirDefaults) {
  int options = 0;
  for (const LimitRow& row : limit_rows()) {
    options += row.option ? 1 : 0;
    EXPECT_FALSE(row.what.empty() || row.answer.empty() || row.initial.empty()) << row.name;
    if (row.name == "max_body_bytes") {
      EXPECT_EQ(row.place, "--max-body-bytes");
      EXPECT_EQ(row.initial, "4194304");
    }
  }
  EXPECT_GE(options, 15);
}

}  // namespace
}  // namespace foregate
