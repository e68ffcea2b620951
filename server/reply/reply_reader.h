// The text of one reply read into reasoning, content and calls, as it comes. Pure; one sample, one thread.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "server/reply/piece.h"
#include "server/reply/reply_form.h"

namespace foregate {

class ReplyReader {
 public:
  explicit ReplyReader(const ReplyForm& form);
  // What is certain now. However the text is cut, the pieces of all pushes and of finish() joined are the same.
  std::vector<ReplyPiece> push(std::string_view text);
  std::vector<ReplyPiece> finish();
  std::size_t calls() const { return calls_; }  // that were put out
  // The last text that went out was reasoning: what came with it and since then is, or ends it.
  bool reasoning() const { return reasoning_; }

 private:
  std::vector<ReplyPiece> taken();
  std::unique_ptr<ByteReader> reader_;
  PieceSink sink_;
  const bool one_call_;
  const bool keep_reasoning_;
  std::size_t calls_ = 0;
  bool dropping_ = false;  // a call that is one too many
  bool reasoning_ = false;
};

// Pieces of several pushes in a row as one list.
void join_pieces(std::vector<ReplyPiece> more, std::vector<ReplyPiece>& pieces);

}  // namespace foregate
