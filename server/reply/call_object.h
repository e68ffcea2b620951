// JSON as a model writes it, read byte by byte: where a value ends, and the object of one call,
// {"name": ..., "arguments": {...}}. Arguments pass through as they were written. One sample, one thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/reply/piece.h"

namespace foregate {

// Where one JSON value ends. Only brackets and quotes are looked at: what is between them is the reader's business.
class JsonValueScan {
 public:
  enum class Step { kMore, kLast, kAfter, kBroken };  // last byte of the value; the value ended before this byte
  Step push(char c);                                  // white space before the value is the caller's to skip
  bool started() const { return started_; }

 private:
  Step first(char c);
  Step within_string(char c);
  std::string closers_;
  bool started_ = false;
  bool quoted_ = false;
  bool escaped_ = false;
};

class CallObject {
 public:
  enum class Step { kMore, kDone, kBroken };
  // `names`: the tools there are; null when any name will do.
  explicit CallObject(const std::vector<std::string>* names = nullptr) : names_(names) {}
  Step push(char c, PieceSink& out);
  bool announced() const { return announced_; }  // the call has been put out and cannot be taken back

 private:
  enum class At { kStart, kKeyOrEnd, kKey, kColon, kValue, kNext, kOver };
  enum class Member { kOther, kName, kArguments };
  Step begin(char c, At next);
  Step key(char c);
  Step value(char c, PieceSink& out);
  Step value_ended(PieceSink& out);
  Step announce(PieceSink& out);
  void arguments_ended(PieceSink& out);
  Step over(PieceSink& out);

  const std::vector<std::string>* names_;
  At at_ = At::kStart;
  Member member_ = Member::kOther;
  JsonValueScan scan_;
  std::string text_;       // of the key or of the value that is read
  std::string arguments_;  // that came before the name
  bool passing_ = false;   // arguments go out as they come
  bool announced_ = false;
  bool has_arguments_ = false;
};

// The value of a JSON string with its quotes; false when it is none.
bool string_value(std::string_view json, std::string& out);

}  // namespace foregate
