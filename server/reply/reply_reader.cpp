#include "server/reply/reply_reader.h"

#include <utility>

#include "server/reply/readers.h"

namespace foregate {
namespace {

std::unique_ptr<ByteReader> calls_reader(const ReplyForm& form) {
  switch (form.tools) {
    case ToolFormat::kHermes: return tagged_calls();
    case ToolFormat::kJson: return bare_calls(form);
    case ToolFormat::kMistral: return mistral_calls();
    case ToolFormat::kDeepseek:
    case ToolFormat::kKimi: return marked_calls(form.tools);
    case ToolFormat::kQwenXml:
    case ToolFormat::kGlmXml: return xml_calls(form);
    case ToolFormat::kHarmony: return harmony_reply(form);
    case ToolFormat::kNone: break;
  }
  return form.reasoning == ReasoningFormat::kHarmony ? harmony_reply(form) : plain_reply();
}

std::unique_ptr<ByteReader> reader_of(const ReplyForm& form) {
  auto rest = calls_reader(form);
  const bool thinks = !think_marks(form.reasoning).open.empty();
  return thinks ? think_reader(form, std::move(rest)) : std::move(rest);
}

}  // namespace

ReplyReader::ReplyReader(const ReplyForm& form)
    : reader_(reader_of(form)), one_call_(form.one_call), keep_reasoning_(form.keep_reasoning) {}

std::vector<ReplyPiece> ReplyReader::push(std::string_view text) {
  for (const char c : text) reader_->byte(c, sink_);
  return taken();
}

std::vector<ReplyPiece> ReplyReader::finish() {
  reader_->end(sink_);
  return taken();
}

std::vector<ReplyPiece> ReplyReader::taken() {
  std::vector<ReplyPiece> pieces;
  for (ReplyPiece& piece : sink_.take()) {
    reasoning_ = piece.kind == ReplyPiece::Kind::kReasoning;
    if (reasoning_ && !keep_reasoning_) continue;
    if (piece.kind == ReplyPiece::Kind::kCall) {
      dropping_ = one_call_ && calls_ > 0;
      if (!dropping_) ++calls_;
    }
    const bool of_call = piece.kind == ReplyPiece::Kind::kCall || piece.kind == ReplyPiece::Kind::kArguments;
    if (of_call && dropping_) continue;
    join_pieces({std::move(piece)}, pieces);
  }
  return pieces;
}

void join_pieces(std::vector<ReplyPiece> more, std::vector<ReplyPiece>& pieces) {
  for (ReplyPiece& piece : more) {
    const bool same = !pieces.empty() && pieces.back().kind == piece.kind;
    if (same && piece.kind != ReplyPiece::Kind::kCall) {
      pieces.back().text += piece.text;
    } else {
      pieces.push_back(std::move(piece));
    }
  }
}

}  // namespace foregate
