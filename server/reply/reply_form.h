// In which form a model writes its reasoning and its calls of tools, and how a word, or a chat template, names it. Pure
// values; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace foregate {

enum class ToolFormat { kNone, kHermes, kJson, kMistral, kDeepseek, kKimi, kQwenXml, kGlmXml, kHarmony };
enum class ReasoningFormat { kNone, kThink, kThinkFirst, kMistral, kHarmony };

struct ToolShape {
  std::string name;
  std::vector<std::string> values;  // parameters that their schemas say are no texts
};

struct ReplyForm {
  enum class Start {
    kOpen,       // the prompt ends within reasoning
    kUndecided,  // the reply may open it
    kClosed      // the prompt ends behind it, or there is none
  };
  ToolFormat tools = ToolFormat::kNone;  // kNone: calls are not looked for
  ReasoningFormat reasoning = ReasoningFormat::kNone;
  Start start = Start::kUndecided;
  bool one_call = false;         // more than one are dropped
  bool keep_reasoning = true;    // false: it is dropped
  std::vector<ToolShape> known;  // the tools of the request
  std::vector<std::string> names() const;
  // Markup that a tokenizer may spell with special tokens; the reader needs to see them.
  std::vector<std::string> marks() const;
};

// The marks around reasoning; empty when there are none of that kind.
struct ThinkMarks {
  std::string_view open, close;
};
ThinkMarks think_marks(ReasoningFormat format);

// What `--tool-call-parser` and `--reasoning-parser` may say, as users of vLLM know it. False: not known.
bool tool_format_of(std::string_view word, ToolFormat& format);
bool reasoning_format_of(std::string_view word, ReasoningFormat& format);
const char* tool_format_name(ToolFormat format);
const char* reasoning_format_name(ReasoningFormat format);

// What the text of a chat template says about the replies of its model.
ToolFormat tool_format_in(std::string_view chat_template);
ReasoningFormat reasoning_format_in(std::string_view chat_template);

// How a reply begins after this prompt.
ReplyForm::Start reasoning_start(ReasoningFormat format, std::string_view prompt);

}  // namespace foregate
