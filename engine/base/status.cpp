#include "engine/base/status.h"

namespace foregate {

const char* code_name(Code code) {
  switch (code) {
    case Code::kOk: return "ok";
    case Code::kInvalidArgument: return "invalid_argument";
    case Code::kNotFound: return "not_found";
    case Code::kResourceExhausted: return "resource_exhausted";
    case Code::kUnavailable: return "unavailable";
    case Code::kCancelled: return "cancelled";
    case Code::kDeadlineExceeded: return "deadline_exceeded";
    case Code::kDataLoss: return "data_loss";
    case Code::kUnimplemented: return "unimplemented";
    case Code::kInternal: return "internal";
  }
  return "unknown";
}

std::string Status::to_string() const {
  if (ok()) return "ok";
  std::string text = code_name(code_);
  if (!field_.empty()) text += " (" + field_ + ")";
  return text + ": " + message_;
}

Status invalid_argument(std::string message, std::string field) {
  return {Code::kInvalidArgument, std::move(message), std::move(field)};
}
Status data_loss(std::string message, std::string field) {
  return {Code::kDataLoss, std::move(message), std::move(field)};
}
Status unimplemented(std::string message, std::string field) {
  return {Code::kUnimplemented, std::move(message), std::move(field)};
}
Status not_found(std::string message) {
  return {Code::kNotFound, std::move(message)};
}
Status resource_exhausted(std::string message) {
  return {Code::kResourceExhausted, std::move(message)};
}
Status unavailable(std::string message) {
  return {Code::kUnavailable, std::move(message)};
}
Status internal_error(std::string message) {
  return {Code::kInternal, std::move(message)};
}

}  // namespace foregate
