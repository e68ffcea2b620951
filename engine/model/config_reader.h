// Typed, bounded reading of one JSON object of a model directory. The first fault is kept and all
// later reads return harmless values, so that a parser reads as a list of fields and asks for
// status() once at its end.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

class ConfigReader {
 public:
  // `file` names the file in messages, `prefix` the path of `object` inside it ("rope_scaling.").
  ConfigReader(const nlohmann::json& object, std::string file, std::string prefix = {});

  bool has(const char* key) const;  // present and not null
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high);
  std::int64_t integer_or(const char* key, std::int64_t low, std::int64_t high, std::int64_t fallback);
  double number(const char* key, double low, double high);
  double number_or(const char* key, double low, double high, double fallback);
  bool boolean_or(const char* key, bool fallback);
  std::string text_or(const char* key, const std::string& fallback);
  std::vector<std::int64_t> integers(const char* key, std::int64_t low, std::int64_t high, std::size_t max_count);
  std::vector<std::string> texts(const char* key, std::size_t max_count);
  // An integer or a list of them; empty when absent or null.
  std::vector<std::int64_t> integer_or_list(const char* key, std::int64_t low, std::int64_t high);
  const nlohmann::json* object(const char* key);  // null when absent or null

  void refuse(const char* key, const std::string& what);  // kUnimplemented: not supported
  void reject(const char* key, const std::string& what);  // kInvalidArgument: wrong
  void merge(const Status& status);                       // keeps the first fault
  const Status& status() const { return status_; }
  const std::string& file() const { return file_; }

 private:
  const nlohmann::json* find(const char* key) const;  // null when absent or JSON null
  const nlohmann::json* require(const char* key);
  bool checked_integer(const char* key, const nlohmann::json& value, std::int64_t low, std::int64_t high,
                       std::int64_t& out);
  void fail(Code code, const char* key, const std::string& what);

  const nlohmann::json& object_;
  std::string file_;
  std::string prefix_;
  Status status_;
};

}  // namespace foregate
