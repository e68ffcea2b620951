// Typed, bounded reading of GGUF metadata. The first fault is kept and all later reads return harmless values, so that
// a parser reads as a list of keys and asks for status() once at its end: ConfigReader's way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/base/status.h"
#include "engine/io/gguf.h"

namespace foregate {

class MetadataReader {
 public:
  // `file` names the file in messages. Keys are read as `prefix` + key.
  MetadataReader(const GgufHeader& header, std::string file, std::string prefix = {});

  bool has(const char* key) const;
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high);
  std::int64_t integer_or(const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback);
  double number(const char* key, double low, double high);
  double number_or(const char* key, double low, double high, double fallback);
  bool boolean_or(const char* key, bool fallback);
  std::string text_or(const char* key, const std::string& fallback);

  void refuse(const char* key, const std::string& what);  // kUnimplemented: not supported
  void reject(const char* key, const std::string& what);  // kInvalidArgument: wrong
  void merge(const Status& status);                       // keeps the first fault
  const Status& status() const { return status_; }
  const std::string& file() const { return file_; }

 private:
  const GgufValue* find(const char* key) const;
  const GgufValue* single(const char* key);  // null after a fault: missing, or an array
  void fail(Code code, const char* key, const std::string& what);

  const GgufHeader& header_;
  std::string file_;
  std::string prefix_;
  Status status_;
};

}  // namespace foregate
