// A reply as a row of blocks (reasoning, text, a call), which newer APIs answer with: what one of them says when a
// block begins, grows and ends. One reply; the loop thread only.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "server/openai/api_response.h"

namespace foregate {

struct NamedEvent {
  std::string name;
  std::string data;  // JSON
};

class BlockWriter {
 public:
  virtual ~BlockWriter() = default;
  virtual std::string id() const = 0;
  // Of a stream: what comes first, what more text adds, the last events of one that ended well, the one of a failure.
  virtual std::vector<NamedEvent> begin(const Usage& usage) = 0;
  std::vector<NamedEvent> add(const std::vector<ReplyPiece>& pieces);
  std::vector<NamedEvent> finish(const SampleEnd& end, const Usage& usage);
  virtual NamedEvent failure(const Status& status) = 0;
  // The same without a stream: the body after add() and finish(), and that of a failure.
  virtual std::string body(const SampleEnd& end, const Usage& usage) = 0;
  virtual std::string error_body(const Status& status) const = 0;

 protected:
  struct Block {
    ReplyPiece::Kind kind;
    std::string name;  // of a call
    std::string text;
    std::size_t number = 0;  // of calls: how many came before
  };
  using Events = std::vector<NamedEvent>;
  virtual void opened(const Block& block, std::size_t index, Events& events) = 0;
  virtual void grew(const Block& block, std::size_t index, const std::string& text, Events& events) = 0;
  virtual void closed(const Block& block, std::size_t index, Events& events) = 0;
  virtual void ended(const SampleEnd& end, const Usage& usage, Events& events) = 0;
  const std::vector<Block>& blocks() const { return blocks_; }
  bool called() const { return calls_ > 0; }

 private:
  void close(Events& events);
  std::vector<Block> blocks_;
  std::size_t calls_ = 0;
  bool open_ = false;
};

}  // namespace foregate
