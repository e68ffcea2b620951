// What turns text into tokens and chats into text, read from wherever the model's source keeps it.
#pragma once

#include <memory>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/model/model_source.h"
#include "engine/text/chat_template.h"
#include "engine/text/gguf_vocab.h"
#include "engine/text/tokenizer.h"

namespace foregate {

struct ModelText {
  std::shared_ptr<const Tokenizer> tokenizer;
  TokenizerConfig config;
  std::shared_ptr<const ChatTemplate> chat_template;  // null when the model has none
};

// Errors name the file and the field. Of a GGUF model the metadata arrays are taken out of `model.gguf`, so that they
// are not held twice.
Result<ModelText> load_model_text(const FileSystem& files, OpenModel& model);

// The tokenizer.ggml.* keys; the arrays are moved out of the header. `path` names the file in errors.
Result<GgufVocab> take_gguf_vocab(GgufHeader& header, const std::string& path);

}  // namespace foregate
