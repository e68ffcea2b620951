// What the handlers serve: an engine with its tokenizer, template and names. Made once at boot and
// immutable; shared with worker threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/api/engine.h"
#include "engine/api/expert_board.h"
#include "engine/grammar/compile.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "server/openai/api_request.h"

namespace foregate {

struct ServedModel {
  std::shared_ptr<void> owner;  // keeps engine, tokenizer and template alive
  Engine* engine = nullptr;
  std::shared_ptr<ExpertBoard> experts;  // null: nobody says where they are
  std::shared_ptr<const Tokenizer> tokenizer;
  std::shared_ptr<const ChatTemplate> chat_template;
  std::shared_ptr<GrammarCompiler> grammars;
  ApiContext context;             // points into the above
  std::string model_root;         // path the model was loaded from
  std::int64_t created = 0;       // Unix time of the boot
  std::int32_t max_num_seqs = 1;  // sequences in one step
  // Shown by /version, in order.
  std::vector<std::pair<std::string, std::string>> facts;
};

}  // namespace foregate
