// The readers of replies, one for each way in which models write calls and reasoning. Inner part of server/reply.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/reply/piece.h"
#include "server/reply/reply_form.h"

namespace foregate {

// <tool_call>{"name": ..., "arguments": ...}</tool_call>, any number of times (Hermes, Qwen).
std::unique_ptr<ByteReader> tagged_calls();
// The calls are the whole reply: objects one after another (Llama 3) or in a list. Other names than the tools' are
// none.
std::unique_ptr<ByteReader> bare_calls(const ReplyForm& form);
// [TOOL_CALLS][{...}, {...}] or [TOOL_CALLS]name[ARGS]{...} (Mistral).
std::unique_ptr<ByteReader> mistral_calls();
// Marks around a name and its arguments (DeepSeek V3 and V3.1, Kimi K2).
std::unique_ptr<ByteReader> marked_calls(ToolFormat format);
// <function=name><parameter=key>value</parameter></function> (Qwen3-Coder), <arg_key>, <arg_value> (GLM).
std::unique_ptr<ByteReader> xml_calls(const ReplyForm& form);
// Channels of messages (gpt-oss): reasoning, content and calls.
std::unique_ptr<ByteReader> harmony_reply(const ReplyForm& form);

// Reasoning before the rest, which `rest` reads.
std::unique_ptr<ByteReader> think_reader(const ReplyForm& form, std::unique_ptr<ByteReader> rest);
// All is content.
std::unique_ptr<ByteReader> plain_reply();

}  // namespace foregate
