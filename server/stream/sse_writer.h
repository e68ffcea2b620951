// Server-sent events of one response over any byte sink, with exactly one terminal: done() writes
// the [DONE] mark, fail() one error event and no mark; whatever comes after is dropped.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace foregate {

class SseWriter {
 public:
  using Sink = std::function<void(std::string_view bytes)>;
  SseWriter(Sink write, std::function<void()> end) : write_(std::move(write)), end_(std::move(end)) {}

  void event(std::string_view json) {
    if (ended_) return;
    line_.assign("data: ").append(json).append("\n\n");
    write_(line_);
  }
  void named(std::string_view name, std::string_view json) {
    if (ended_) return;
    line_.assign("event: ").append(name).append("\ndata: ").append(json).append("\n\n");
    write_(line_);
  }
  // The terminal of streams whose last event says that it is the last.
  void close() { finish(); }
  void done() {
    event("[DONE]");
    finish();
  }
  void fail(std::string_view error_json) {
    event(error_json);
    finish();
  }
  bool ended() const { return ended_; }

 private:
  void finish() {
    if (ended_) return;
    ended_ = true;
    end_();
  }
  Sink write_;
  std::function<void()> end_;
  std::string line_;  // its memory is used again
  bool ended_ = false;
};

}  // namespace foregate
