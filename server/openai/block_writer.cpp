#include "server/openai/block_writer.h"

#include <utility>

namespace foregate {

void BlockWriter::close(Events& events) {
  if (std::exchange(open_, false)) closed(blocks_.back(), blocks_.size() - 1, events);
}

std::vector<NamedEvent> BlockWriter::add(const std::vector<ReplyPiece>& pieces) {
  Events events;
  for (const ReplyPiece& piece : pieces) {
    const bool arguments = piece.kind == ReplyPiece::Kind::kArguments;
    const bool call = piece.kind == ReplyPiece::Kind::kCall;
    if (call || (!arguments && (!open_ || blocks_.back().kind != piece.kind))) {
      close(events);
      blocks_.push_back({piece.kind, call ? piece.text : std::string(), {}, calls_});
      if (call) ++calls_;
      open_ = true;
      opened(blocks_.back(), blocks_.size() - 1, events);
    }
    if (call || !open_) continue;
    blocks_.back().text += piece.text;
    grew(blocks_.back(), blocks_.size() - 1, piece.text, events);
  }
  return events;
}

std::vector<NamedEvent> BlockWriter::finish(const SampleEnd& end, const Usage& usage) {
  Events events;
  close(events);
  ended(end, usage, events);
  return events;
}

}  // namespace foregate
