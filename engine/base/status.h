// Errors from input, files, sockets and budgets travel as values. No exceptions cross a folder.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/api/check.h"

namespace foregate {

enum class Code {
  kOk,
  kInvalidArgument,  // the caller's request is wrong; `field` names the part
  kNotFound,
  kResourceExhausted,  // a bound or budget is full; try later
  kUnavailable,        // loading, draining or broken
  kCancelled,
  kDeadlineExceeded,
  kDataLoss,       // a file is damaged or not what it says
  kUnimplemented,  // understood but not supported; refused by name
  kInternal,
};

const char* code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message, std::string field = {})
      : code_(code), message_(std::move(message)), field_(std::move(field)) {}
  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& field() const { return field_; }  // request parameter, tensor or key; may be empty
  std::string to_string() const;

 private:
  Code code_ = Code::kOk;
  std::string message_;
  std::string field_;
};

Status invalid_argument(std::string message, std::string field = {});
Status data_loss(std::string message, std::string field = {});
Status unimplemented(std::string message, std::string field = {});
Status not_found(std::string message);
Status resource_exhausted(std::string message);
Status unavailable(std::string message);
Status internal_error(std::string message);

// A value or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status status) : status_(std::move(status)) { CHECK(!status_.ok()); }
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & {
    CHECK(value_.has_value());
    return *value_;
  }
  const T& value() const& {
    CHECK(value_.has_value());
    return *value_;
  }
  T&& value() && {
    CHECK(value_.has_value());
    return std::move(*value_);
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace foregate

#define FOREGATE_CONCAT_(a, b) a##b
#define FOREGATE_CONCAT(a, b) FOREGATE_CONCAT_(a, b)
// Returns the Status of `expression` when it failed.
#define RETURN_IF_ERROR(expression)                                 \
  do {                                                              \
    if (auto status_ = (expression); !status_.ok()) return status_; \
  } while (0)
// ASSIGN_OR_RETURN(auto x, f()): x from a Result, or return its Status.
#define ASSIGN_OR_RETURN(target, expression) ASSIGN_OR_RETURN_(target, expression, FOREGATE_CONCAT(result_, __LINE__))
#define ASSIGN_OR_RETURN_(target, expression, result) \
  auto result = (expression);                         \
  if (!result.ok()) return result.status();           \
  target = std::move(result).value()
