#include "server/reply/reply_form.h"

#include <algorithm>

#include "server/reply/piece.h"

namespace foregate {
namespace {

struct ToolWord {
  const char* word;
  ToolFormat format;
};
// The first word of a format is its name.
constexpr ToolWord kToolWords[] = {{"none", ToolFormat::kNone},
                                   {"hermes", ToolFormat::kHermes},
                                   {"json", ToolFormat::kJson},
                                   {"llama3_json", ToolFormat::kJson},
                                   {"llama4_json", ToolFormat::kJson},
                                   {"mistral", ToolFormat::kMistral},
                                   {"deepseek_v3", ToolFormat::kDeepseek},
                                   {"deepseek_v31", ToolFormat::kDeepseek},
                                   {"kimi_k2", ToolFormat::kKimi},
                                   {"qwen3_coder", ToolFormat::kQwenXml},
                                   {"qwen3_xml", ToolFormat::kQwenXml},
                                   {"glm45", ToolFormat::kGlmXml},
                                   {"glm47", ToolFormat::kGlmXml},
                                   {"openai", ToolFormat::kHarmony},
                                   {"gpt_oss", ToolFormat::kHarmony}};

struct ReasoningWord {
  const char* word;
  ReasoningFormat format;
};
constexpr ReasoningWord kReasoningWords[] = {
    {"none", ReasoningFormat::kNone},       {"qwen3", ReasoningFormat::kThink},
    {"glm45", ReasoningFormat::kThink},     {"deepseek_v3", ReasoningFormat::kThink},
    {"kimi_k2", ReasoningFormat::kThink},   {"deepseek_r1", ReasoningFormat::kThinkFirst},
    {"mistral", ReasoningFormat::kMistral}, {"openai_gptoss", ReasoningFormat::kHarmony},
    {"gpt_oss", ReasoningFormat::kHarmony}};

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

bool holds(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

std::vector<std::string> ReplyForm::names() const {
  std::vector<std::string> names;
  for (const ToolShape& tool : known) names.push_back(tool.name);
  return names;
}

std::vector<std::string> ReplyForm::marks() const {
  std::vector<std::string> marks;
  switch (tools) {
    case ToolFormat::kNone: break;
    case ToolFormat::kHermes:
    case ToolFormat::kQwenXml: marks = {"<tool_call>", "</tool_call>"}; break;
    case ToolFormat::kJson: marks = {"<|python_tag|>"}; break;
    case ToolFormat::kMistral: marks = {"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"}; break;
    case ToolFormat::kDeepseek:
      marks = {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>",
               "<｜tool▁sep｜>"};
      break;
    case ToolFormat::kKimi:
      marks = {"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
               "<|tool_call_argument_begin|>", "<|tool_call_end|>"};
      break;
    case ToolFormat::kGlmXml:
      marks = {"<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"};
      break;
    case ToolFormat::kHarmony: break;  // below
  }
  const ThinkMarks think = think_marks(reasoning);
  if (!think.open.empty()) marks.insert(marks.end(), {std::string(think.open), std::string(think.close)});
  if (tools == ToolFormat::kHarmony || reasoning == ReasoningFormat::kHarmony) {
    marks.insert(marks.end(),
                 {"<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>", "<|return|>"});
  }
  return marks;
}

ThinkMarks think_marks(ReasoningFormat format) {
  switch (format) {
    case ReasoningFormat::kThink:
    case ReasoningFormat::kThinkFirst: return {"<think>", "</think>"};
    case ReasoningFormat::kMistral: return {"[THINK]", "[/THINK]"};
    case ReasoningFormat::kNone:
    case ReasoningFormat::kHarmony: break;
  }
  return {};
}

bool tool_format_of(std::string_view word, ToolFormat& format) {
  const auto found = std::find_if(std::begin(kToolWords), std::end(kToolWords),
                                  [&](const ToolWord& known) { return word == known.word; });
  if (found == std::end(kToolWords)) return false;
  format = found->format;
  return true;
}

bool reasoning_format_of(std::string_view word, ReasoningFormat& format) {
  const auto found = std::find_if(std::begin(kReasoningWords), std::end(kReasoningWords),
                                  [&](const ReasoningWord& known) { return word == known.word; });
  if (found == std::end(kReasoningWords)) return false;
  format = found->format;
  return true;
}

const char* tool_format_name(ToolFormat format) {
  for (const ToolWord& known : kToolWords) {
    if (known.format == format) return known.word;
  }
  return "none";
}

const char* reasoning_format_name(ReasoningFormat format) {
  for (const ReasoningWord& known : kReasoningWords) {
    if (known.format == format) return known.word;
  }
  return "none";
}

// The more special markup is looked for first: some of it contains the more common one.
ToolFormat tool_format_in(std::string_view chat_template) {
  if (holds(chat_template, "<|channel|>")) return ToolFormat::kHarmony;
  if (holds(chat_template, "tool▁call▁begin")) return ToolFormat::kDeepseek;
  if (holds(chat_template, "<|tool_call_begin|>")) return ToolFormat::kKimi;
  if (holds(chat_template, "[TOOL_CALLS]")) return ToolFormat::kMistral;
  if (holds(chat_template, "<arg_key>")) return ToolFormat::kGlmXml;
  if (holds(chat_template, "<function=") && holds(chat_template, "<tool_call>")) return ToolFormat::kQwenXml;
  if (holds(chat_template, "<tool_call>")) return ToolFormat::kHermes;
  const bool llama = holds(chat_template, "<|python_tag|>") || holds(chat_template, "Environment: ipython");
  return llama && holds(chat_template, "parameters") ? ToolFormat::kJson : ToolFormat::kNone;
}

ReasoningFormat reasoning_format_in(std::string_view chat_template) {
  if (holds(chat_template, "<|channel|>")) return ReasoningFormat::kHarmony;
  if (holds(chat_template, "[THINK]")) return ReasoningFormat::kMistral;
  return holds(chat_template, "</think>") ? ReasoningFormat::kThink : ReasoningFormat::kNone;
}

ReplyForm::Start reasoning_start(ReasoningFormat format, std::string_view prompt) {
  const ThinkMarks marks = think_marks(format);
  if (marks.open.empty()) return ReplyForm::Start::kUndecided;
  const std::string_view text = trimmed(prompt);
  if (ends_with(text, marks.open)) return ReplyForm::Start::kOpen;
  if (ends_with(text, marks.close)) return ReplyForm::Start::kClosed;
  return format == ReasoningFormat::kThinkFirst ? ReplyForm::Start::kOpen : ReplyForm::Start::kUndecided;
}

}  // namespace foregate
