#include "tools/clients/cpp/src/attempts.h"

#include <algorithm>
#include <random>

namespace foregate::client {
namespace {

constexpr const char* kPushback = "grpc-retry-pushback-ms";
constexpr const char* kField = "foregate-field";

std::string word(const grpc::ClientContext& context, const char* key) {
  const auto& trailing = context.GetServerTrailingMetadata();
  const auto found = trailing.find(key);
  return found == trailing.end() ? "" : std::string(found->second.data(), found->second.size());
}

// Absent for what is no number of milliseconds: do not try again, as gRFC A6 says.
std::optional<Duration> pushback_of(const std::string& text) {
  const bool number = !text.empty() && text.size() < 10 &&
                      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!number) return std::nullopt;
  return Duration(std::stoll(text));
}

double drawn() {
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(random);
}

}  // namespace

Error error_of(const grpc::Status& status, const grpc::ClientContext& context) {
  Error error;
  error.code = static_cast<Code>(status.error_code());
  error.message = status.error_message();
  if (status.ok()) return error;
  error.field = word(context, kField);
  error.retry_after = pushback_of(word(context, kPushback));
  return error;
}

std::optional<Duration> wait_before_next(const RetryPolicy& policy, int made, Code code, const std::string& pushback,
                                         double random) {
  const bool again = code == Code::kUnavailable || (code == Code::kResourceExhausted && !pushback.empty());
  if (!again || made >= policy.attempts) return std::nullopt;
  if (!pushback.empty()) {
    const auto asked = pushback_of(pushback);
    return asked && *asked <= policy.longest_wait ? asked : std::nullopt;
  }
  const double whole =
      static_cast<double>(policy.first_wait.count()) * static_cast<double>(1ll << std::min(made - 1, 30));
  const double wait = std::min(whole, static_cast<double>(policy.longest_wait.count())) * (1 - random / 2);
  return Duration(static_cast<Duration::rep>(wait));
}

Attempts::Attempts(const ClientOptions& options, const CallOptions& call)
    : policy_(options.retry), authorization_(options.api_key.empty() ? "" : "Bearer " + options.api_key) {
  const auto timeout = call.timeout ? call.timeout : options.timeout;
  if (timeout) deadline_ = std::chrono::system_clock::now() + *timeout;
}

grpc::ClientContext& Attempts::begin() {
  auto context = std::make_unique<grpc::ClientContext>();
  if (deadline_) context->set_deadline(*deadline_);
  if (!authorization_.empty()) context->AddMetadata("authorization", authorization_);
  std::lock_guard lock(mutex_);
  if (stopped_) context->TryCancel();
  context_ = std::move(context);
  ++made_;
  return *context_;
}

bool Attempts::again(const grpc::Status& status) {
  const auto code = static_cast<Code>(status.error_code());
  const auto wait = wait_before_next(policy_, made_, code, word(*context_, kPushback), drawn());
  if (!wait || (deadline_ && std::chrono::system_clock::now() + *wait >= *deadline_)) {
    fail(status);
    return false;
  }
  std::unique_lock lock(mutex_);
  if (!wake_.wait_for(lock, *wait, [this] { return stopped_; })) return true;
  error_ = {Code::kCancelled, "the call was cancelled", {}, {}};
  return false;
}

void Attempts::fail(const grpc::Status& status) {
  error_ = error_of(status, *context_);
}

void Attempts::stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  if (context_) context_->TryCancel();
  wake_.notify_all();
}

}  // namespace foregate::client
