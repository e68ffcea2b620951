// Replies in the markup of each family of models: what they are read into, the same for every cut of the text.
#include <gtest/gtest.h>

#include <random>

#include "server/reply/reply_reader.h"

namespace foregate {
namespace {

// "R:reasoning", "C:content", "name(arguments)", in a row.
std::string shown(const std::vector<ReplyPiece>& pieces) {
  std::string text;
  bool open = false;
  for (const ReplyPiece& piece : pieces) {
    if (open && piece.kind != ReplyPiece::Kind::kArguments) {
      text += ")";
      open = false;
    }
    if (!text.empty() && piece.kind != ReplyPiece::Kind::kArguments) text += "|";
    switch (piece.kind) {
      case ReplyPiece::Kind::kReasoning: text += "R:" + piece.text; break;
      case ReplyPiece::Kind::kContent: text += "C:" + piece.text; break;
      case ReplyPiece::Kind::kCall:
        text += piece.text + "(";
        open = true;
        break;
      case ReplyPiece::Kind::kArguments: text += piece.text; break;
    }
  }
  return open ? text + ")" : text;
}

std::string read_in(const ReplyForm& form, const std::string& text, const std::vector<std::size_t>& cuts) {
  ReplyReader reader(form);
  std::vector<ReplyPiece> pieces;
  std::size_t at = 0;
  for (const std::size_t cut : cuts) {
    join_pieces(reader.push(std::string_view(text).substr(at, cut - at)), pieces);
    at = cut;
  }
  join_pieces(reader.push(std::string_view(text).substr(at)), pieces);
  join_pieces(reader.finish(), pieces);
  return shown(pieces);
}

ReplyForm form_of(ToolFormat tools, ReasoningFormat reasoning = ReasoningFormat::kNone,
                  ReplyForm::Start start = ReplyForm::Start::kUndecided) {
  ReplyForm form;
  form.tools = tools;
  form.reasoning = reasoning;
  form.start = start;
  form.known = {{"f", {"n", "o", "b"}}, {"get_weather", {}}};
  return form;
}

// Whole, cut once at every place, and in bytes.
void expect_read(const ReplyForm& form, const std::string& text, const std::string& wanted) {
  ASSERT_EQ(read_in(form, text, {}), wanted) << text;
  std::vector<std::size_t> all;
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    ASSERT_EQ(read_in(form, text, {cut}), wanted) << text << " cut at " << cut;
    all.push_back(cut);
  }
  ASSERT_EQ(read_in(form, text, all), wanted) << text << " in bytes";
}

struct Case {
  const char* text;
  const char* wanted;
};

template <std::size_t N>
void expect_all(const ReplyForm& form, const Case (&cases)[N]) {
  for (const Case& one : cases) expect_read(form, one.text, one.wanted);
}

TEST(Reply, Hermes) {
  expect_all(
      form_of(ToolFormat::kHermes),
      {{"plain text\n ", "C:plain text\n "},
       {"", ""},
       {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, \"}\"]}}\n</tool_call>", "f({\"a\": [1, \"}\"]})"},
       {"I look.\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>\n{\"arguments\": {\"x\":1}, "
        "\"name\": \"g\"}\n</tool_call>\n",
        "C:I look.|f({})|g({\"x\":1})"},
       {"<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", "f({\"a\": 1})"},
       {"<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", "f({})"},
       {"<tool_call>{\"name\": \"f\"}</tool_call> and then", "f({})|C:and then"},
       {"<tool_call>{\"id\": 7, \"name\": \"f\", \"parameters\": {\"a\": true}, \"more\": [1]}</tool_call>",
        "f({\"a\": true})"},
       {"<tool_call>{\"name\": \"f\", \"arguments\": {\"t\": \"</tool_call>\"}}</tool_call>",
        "f({\"t\": \"</tool_call>\"})"},
       {"<tool_call>{\"name\": \"a\"}<tool_call>{\"name\": \"b\"}", "a({})|b({})"},
       {"a <tool_cal", "C:a <tool_cal"},
       {"<tool_call>oh</tool_call>", "C:<tool_call>oh</tool_call>"},
       {"<tool_call>\n<tool_call>{\"name\": \"f\"}</tool_call>", "C:<tool_call>|f({})"},
       {"<tool_call>{\"name\": 5, \"arguments\": {}}", "C:<tool_call>{\"name\": 5, \"arguments\": {}}"},
       {"<tool_call>{\"arguments\": {\"a\": 1}}</tool_call>", "C:<tool_call>{\"arguments\": {\"a\": 1}}</tool_call>"},
       {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1", "f({\"a\": 1)"},
       {"<tool_call>{\"name\": \"f\", \"argu", "f()"},
       {"<tool_call>{\"na", "C:<tool_call>{\"na"},
       {"<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}] x</tool_call>then", "f({\"a\": 1})|C:then"},
       {"<tool_call>{\"name\": \"\\u0066\\n\", \"arguments\": {}}</tool_call>", "f\n({})"}});
}

TEST(Reply, BareObjects) {
  expect_all(
      form_of(ToolFormat::kJson),
      {{"{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "f({\"a\": 1})"},
       {" <|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"get_weather\"}", "f({})|get_weather({})"},
       {"[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"f\", \"arguments\": {\"a\": 2}}]",
        "f({\"a\": 1})|f({\"a\": 2})"},
       {"[{\"name\": \"f\", \"arguments\": {}}] so", "f({})|C:so"},
       {"{\"name\": \"other\", \"parameters\": {}}", "C:{\"name\": \"other\", \"parameters\": {}}"},
       {"{\"answer\": 42}", "C:{\"answer\": 42}"},
       {"text {\"name\": \"f\"}", "C:text {\"name\": \"f\"}"},
       {"[1, 2]", "C:[1, 2]"},
       {"  <|python", "C:  <|python"},
       {"{\"name\": \"f\"} tail", "f({})|C:tail"}});
}

TEST(Reply, Mistral) {
  expect_all(form_of(ToolFormat::kMistral),
             {{"[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": \"]\"}}, {\"name\": \"g\", \"arguments\": {}}]",
               "f({\"a\": \"]\"})|g({})"},
              {"Well. [TOOL_CALLS]f{\"a\": 1}[TOOL_CALLS]g[ARGS]{\"b\": {}}", "C:Well.|f({\"a\": 1})|g({\"b\": {}})"},
              {"[TOOL_CALLS]f[CALL_ID]x1y2[ARGS]{\"a\": 1}", "f({\"a\": 1})"},
              {"[TOOL", "C:[TOOL"},
              {"[TOOL_CALLS]f", "C:[TOOL_CALLS]f"},
              {"[TOOL_CALLS] [7]", "C:[TOOL_CALLS] [7]"},
              {"a [1] b", "C:a [1] b"}});
}

TEST(Reply, DeepseekAndKimi) {
  expect_all(form_of(ToolFormat::kDeepseek),
             {{"Hm<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": "
               "1}\n```<｜tool▁call▁end｜>\n"
               "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
               "C:Hm|f({\"a\": 1})|g({})"},
              {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": "
               "\"é\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
               "f({\"a\": \"é\"})"},
              {"<｜tool▁call▁begin｜>f<｜tool▁sep｜><｜tool▁call▁end｜>", "f({})"},
              {"<｜tool▁call▁begin｜>f", "C:<｜tool▁call▁begin｜>f"},
              {"a ＜ b <｝", "C:a ＜ b <｝"}});
  expect_all(
      form_of(ToolFormat::kKimi),
      {{"Let me.<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}"
        "<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|>"
        "<|tool_calls_section_end|>",
        "C:Let me.|f({\"a\": 1})|g({})"}});
}

TEST(Reply, XmlParameters) {
  expect_all(
      form_of(ToolFormat::kQwenXml),
      {{"Now.\n<tool_call>\n<function=f>\n<parameter=t>\nline 1\n\"line\" "
        "2\n</parameter>\n<parameter=n>\n42\n</parameter>\n"
        "<parameter=o>\n{\"k\": [1]}\n</parameter>\n<parameter=b>\nTrue\n</parameter>\n</function>\n</tool_call>",
        "C:Now.|f({\"t\": \"line 1\\n\\\"line\\\" 2\", \"n\": 42, \"o\": {\"k\": [1]}, \"b\": true})"},
       {"<tool_call>\n<function=g>\n</function>\n</tool_call>\n<tool_call><function=f><parameter=n>x</parameter></"
        "function>"
        "</tool_call>",
        "g({})|f({\"n\": \"x\"})"},
       {"<function=f>\n<parameter=t>\n5\n</parameter>\n</function> done", "f({\"t\": \"5\"})|C:done"},
       {"<tool_call>\n<function=f>\n<parameter=t>\na <tool_call> b</parameter></function></tool_call>",
        "f({\"t\": \"a <tool_call> b\"})"},
       {"<tool_call>\n<function=f>\n<parameter=t>\ncut", "f({\"t\": \"cut)"},
       {"<tool_call>hm", "C:<tool_call>hm"},
       {"<function=", "C:<function="},
       {"a </tool_call> b", "C:a </tool_call> b"}});
  expect_all(form_of(ToolFormat::kGlmXml),
             {{"<tool_call>f\n<arg_key>t</arg_key>\n<arg_value>a "
               "b</arg_value>\n<arg_key>n</arg_key>\n<arg_value>-1</arg_value>"
               "\n</tool_call>",
               "f({\"t\": \"a b\", \"n\": -1})"},
              {"x<tool_call>f<arg_key>t</arg_key><arg_value>1</arg_value></tool_call><tool_call>g</tool_call>",
               "C:x|f({\"t\": \"1\"})|g({})"}});
}

TEST(Reply, Harmony) {
  const ReplyForm form = form_of(ToolFormat::kHarmony, ReasoningFormat::kHarmony);
  expect_all(form,
             {{"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
               "R:Hm.|C:Yes."},
              {"<|channel|>analysis<|message|>Look.<|end|><|start|>assistant<|channel|>commentary to=functions.f "
               "<|constrain|>json<|message|>{\"a\": 1}<|call|>",
               "R:Look.|f({\"a\": 1})"},
              {" to=functions.f<|channel|>commentary<|message|>{}<|call|>", "f({})"},
              {"<|channel|>commentary<|message|>First.<|end|><|start|>assistant<|channel|>final<|message|>Then.",
               "C:First.\nThen."},
              {"<|channel|>final <|constrain|>json<|message|>{\"a\": 1}", "C:{\"a\": 1}"},
              {"no markup", "C:no markup"},
              {" to be", "C: to be"},
              {"<|channel|>analysis<|message|>cut", "R:cut"}});
  const ReplyForm without = form_of(ToolFormat::kNone, ReasoningFormat::kHarmony);
  expect_read(without, "<|channel|>commentary to=functions.f<|message|>{}<|call|>", "C:{}");
}

TEST(Reply, Reasoning) {
  const auto think = [](ReplyForm::Start start) {
    return form_of(ToolFormat::kHermes, ReasoningFormat::kThink, start);
  };
  expect_all(think(ReplyForm::Start::kUndecided),
             {{"<think>\na  b\n</think>\n\nc", "R:a  b|C:c"},
              {"\n<think></think>c", "C:c"},
              {"plain <think>x</think>", "C:plain <think>x</think>"},
              {" plain", "C: plain"},
              {"<thin", "C:<thin"},
              {"<think>on and on </thi", "R:on and on </thi"},
              {"<think>x</think>\n<tool_call>{\"name\": \"f\"}</tool_call>", "R:x|f({})"}});
  expect_all(think(ReplyForm::Start::kOpen), {{"a\n</think>b", "R:a|C:b"},
                                              {"<think>a</think>b", "R:a|C:b"},
                                              {"<th</think>b", "R:<th|C:b"},
                                              {"</think>b", "C:b"}});
  expect_read(think(ReplyForm::Start::kClosed), "a</think>", "C:a</think>");
  ReplyForm form = form_of(ToolFormat::kNone, ReasoningFormat::kMistral);
  expect_read(form, "[THINK]a[/THINK]b", "R:a|C:b");
  form.keep_reasoning = false;
  expect_read(form, "[THINK]a[/THINK]b", "C:b");
}

TEST(Reply, OneCallOnly) {
  ReplyForm form = form_of(ToolFormat::kHermes);
  form.one_call = true;
  expect_read(
      form,
      "<tool_call>{\"name\": \"a\"}</tool_call><tool_call>{\"name\": \"b\", \"arguments\": {\"x\": 1}}</tool_call>",
      "a({})");
}

// Texts of pieces of every markup in a row: never a crash, and the same for every cut.
TEST(Reply, AnyTextInAnyCut) {
  static constexpr const char* kParts[] = {"<tool_call>",
                                           "</tool_call>",
                                           "{\"name\": \"f\", \"arguments\": {",
                                           "}}",
                                           "\"a\": ",
                                           "[",
                                           "]",
                                           "{",
                                           "}",
                                           "\"",
                                           "\\",
                                           ",",
                                           ":",
                                           "<function=f>",
                                           "<parameter=t>",
                                           "</parameter>",
                                           "</function>",
                                           "<arg_key>",
                                           "</arg_key>",
                                           "<arg_value>",
                                           "</arg_value>",
                                           "[TOOL_CALLS]",
                                           "[ARGS]",
                                           "[CALL_ID]",
                                           "<|channel|>",
                                           "<|message|>",
                                           "analysis",
                                           " to=functions.f",
                                           "<|end|>",
                                           "<|call|>",
                                           "<｜tool▁calls▁begin｜>",
                                           "<｜tool▁call▁begin｜>",
                                           "<｜tool▁sep｜>",
                                           "<｜tool▁call▁end｜>",
                                           "<think>",
                                           "</think>",
                                           "<",
                                           ">",
                                           " ",
                                           "\n",
                                           "text",
                                           "5",
                                           "null",
                                           "é",
                                           "<|python_tag|>",
                                           "\1"};
  std::mt19937 random(11);
  for (int round = 0; round < 1500; ++round) {
    ReplyForm form = form_of(static_cast<ToolFormat>(random() % 9), static_cast<ReasoningFormat>(random() % 5),
                             static_cast<ReplyForm::Start>(random() % 3));
    std::string text;
    for (std::size_t i = 0; i < random() % 24; ++i) text += kParts[random() % std::size(kParts)];
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < text.size(); at += 1 + random() % 7) cuts.push_back(at);
    ASSERT_EQ(read_in(form, text, cuts), read_in(form, text, {}))
        << static_cast<int>(form.tools) << " " << static_cast<int>(form.reasoning) << " " << text;
  }
}

TEST(Reply, HoldsBackNoMoreThanItsBound) {
  const std::pair<ToolFormat, const char*> begins[] = {{ToolFormat::kHermes, "<tool_call>{\"x\": \""},
                                                       {ToolFormat::kJson, "{\"x\": \""},
                                                       {ToolFormat::kMistral, "[TOOL_CALLS][{\"x\": \""},
                                                       {ToolFormat::kDeepseek, "<｜tool▁call▁begin｜>"},
                                                       {ToolFormat::kKimi, "<|tool_call_begin|>"},
                                                       {ToolFormat::kQwenXml, "<tool_call><function="},
                                                       {ToolFormat::kGlmXml, "<tool_call>"}};
  for (const auto& [format, begin] : begins) {
    ReplyReader reader(form_of(format));
    std::string text = begin;
    text.append(kMostHeldBytes + 1000, 'y');
    std::size_t out = 0;
    for (const ReplyPiece& piece : reader.push(text)) out += piece.text.size();
    EXPECT_GT(out, 500u) << begin;
  }
}

TEST(Reply, WordsAndTemplatesNameForms) {
  ToolFormat tools = ToolFormat::kNone;
  EXPECT_TRUE(tool_format_of("qwen3_xml", tools));
  EXPECT_EQ(tools, ToolFormat::kQwenXml);
  EXPECT_FALSE(tool_format_of("auto", tools));
  EXPECT_STREQ(tool_format_name(ToolFormat::kHarmony), "openai");
  EXPECT_EQ(tool_format_in("... '<tool_call>\\n' ..."), ToolFormat::kHermes);
  EXPECT_EQ(tool_format_in("<tool_call>\n<function=x>"), ToolFormat::kQwenXml);
  EXPECT_EQ(tool_format_in("[TOOL_CALLS]"), ToolFormat::kMistral);
  EXPECT_EQ(tool_format_in("<tool_call><arg_key>"), ToolFormat::kGlmXml);
  EXPECT_EQ(tool_format_in("<|start|>x<|channel|>"), ToolFormat::kHarmony);
  EXPECT_EQ(tool_format_in("{{ '<|im_start|>' }}"), ToolFormat::kNone);
  EXPECT_EQ(reasoning_format_in("x.split('</think>')"), ReasoningFormat::kThink);
  EXPECT_EQ(reasoning_start(ReasoningFormat::kThink, "assistant\n<think>\n"), ReplyForm::Start::kOpen);
  EXPECT_EQ(reasoning_start(ReasoningFormat::kThink, "<think>\n\n</think>\n\n"), ReplyForm::Start::kClosed);
  EXPECT_EQ(reasoning_start(ReasoningFormat::kThink, "assistant\n"), ReplyForm::Start::kUndecided);
  EXPECT_EQ(reasoning_start(ReasoningFormat::kThinkFirst, "assistant\n"), ReplyForm::Start::kOpen);
}

}  // namespace
}  // namespace foregate
