// What a chat says about tools: which there are, and whether one must be called. Inner part of server/openai.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/openai/api_request.h"
#include "server/openai/fields.h"

namespace foregate {

struct ToolUse {
  enum class Choice { kNone, kAuto, kRequired };
  Choice choice = Choice::kNone;
  bool parallel = true;
  const Json* tools = nullptr;        // of the body; null: none
  bool separate_reasoning = true;     // false: it stays in the content
  bool keep_reasoning = true;         // false: it is dropped
  std::vector<const Json*> callable;  // the `function` of each that may be called
  bool held() const { return choice == Choice::kRequired; }
};

// Checks tools, tool_choice, parallel_tool_calls, include_reasoning, separate_reasoning and reasoning_format. The body
// must outlive what it gives.
Result<ToolUse> read_tool_use(const Json& body, const ApiContext& context);

// How the reply to this prompt is read; none when all of it is content. A reply that is held to calls has the form that
// the model uses, where its markup can be spelled, else a list of calls.
std::optional<ReplyForm> reply_form(const ToolUse& use, const std::string& prompt, const ApiContext& context);

// The grammar of a reply that must be calls of `form`.
GrammarSpec calls_grammar(const ToolUse& use, const ReplyForm& form, const grammar::FreeStart& before);

// The calls that a reply may be instead of text in a demanded form, in the model's own form; empty where none may be
// made, or where their markup cannot be spelled: the reply then has the demanded form.
std::string calls_beside_form(const ToolUse& use, const ApiContext& context);

// What may come before a form that the reply is held to: the model's reasoning, where its marks can be spelled.
grammar::FreeStart reasoning_before(const ReplyForm& form, const ApiContext& context);

// Ids of special tokens that spell markup of the form.
std::vector<Token> shown_specials(const ReplyForm& form, const Tokenizer& tokenizer);

}  // namespace foregate
