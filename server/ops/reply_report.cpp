#include "server/ops/reply_report.h"

namespace foregate {

ReplyReport::ReplyReport(Metrics& metrics)
    : calls_(metrics.counter("foregate_tool_calls", "Calls of tools that were read in replies")),
      reasoning_(metrics.counter("foregate_reasoning_bytes", "Bytes of reasoning that were told from content")) {}

void ReplyReport::note(const std::vector<ReplyPiece>& pieces) {
  for (const ReplyPiece& piece : pieces) {
    if (piece.kind == ReplyPiece::Kind::kCall) calls_.add();
    if (piece.kind == ReplyPiece::Kind::kReasoning) reasoning_.add(static_cast<double>(piece.text.size()));
  }
}

}  // namespace foregate
