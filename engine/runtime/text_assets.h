// What a front end needs besides the tokenizer: the chat template and the texts of the beginning-
// and end-of-sequence tokens, from tokenizer_config.json and chat_template.jinja. Read once at boot.
#pragma once

#include <memory>
#include <string>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/text/chat_template.h"

namespace foregate {

struct TextAssets {
  std::shared_ptr<const ChatTemplate> chat_template;  // null when the directory has none
  std::string bos_token;                              // may be empty
  std::string eos_token;
};

// chat_template.jinja wins over the "chat_template" of tokenizer_config.json, which is a string or a
// list of {name, template} of which "default" is taken. kInvalidArgument or kUnimplemented, naming
// file and field, when one is there and cannot be used.
Result<TextAssets> load_text_assets(const FileSystem& files, const std::string& model_dir);

}  // namespace foregate
