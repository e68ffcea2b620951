#include "tools/load/stream_request.h"

#include <nlohmann/json.hpp>

#include "tools/load/http_body.h"
#include "tools/load/load_text.h"
#include "tools/load/tcp_client.h"

namespace foregate {
namespace {

using Json = nlohmann::json;

double seconds(ClientClock::time_point from) {
  return std::chrono::duration<double>(ClientClock::now() - from).count();
}

bool has_text(const Json& choice) {
  if (const auto text = choice.find("text"); text != choice.end() && text->is_string()) return !text->empty();
  const auto delta = choice.find("delta");
  if (delta == choice.end() || !delta->is_object()) return false;
  for (const char* name : {"content", "reasoning_content", "reasoning"}) {
    const auto part = delta->find(name);
    if (part != delta->end() && part->is_string() && !part->get_ref<const std::string&>().empty()) return true;
  }
  return false;
}

int count_of(const Json& usage, const char* name) {
  const auto found = usage.find(name);
  return found != usage.end() && found->is_number_integer() ? found->get<int>() : 0;
}

// The events of a stream, one after the other.
class StreamReader {
 public:
  StreamReader(LoadOutcome& outcome, ClientClock::time_point sent) : outcome_(outcome), sent_(sent) {}

  // Takes whole events off `body`; empty, or what is wrong.
  std::string take(std::string& body) {
    std::erase(body, '\r');
    for (std::size_t end = body.find("\n\n"); end != std::string::npos; end = body.find("\n\n")) {
      const std::string data = data_of(std::string_view(body).substr(0, end));
      body.erase(0, end + 2);
      if (data.empty()) continue;
      if (data == "[DONE]") {
        done_ = true;
        continue;
      }
      const Json json = Json::parse(data, nullptr, false);
      if (!json.is_object()) return "an event is not JSON";
      if (const auto error = json.find("error"); error != json.end()) return "error event: " + error->dump();
      piece(json);
    }
    return {};
  }
  bool done() const { return done_; }

 private:
  static std::string data_of(std::string_view event) {
    std::string data;
    for (std::string_view line : load_lines(event)) {
      if (line.rfind("data:", 0) != 0) continue;
      line.remove_prefix(5);
      if (!line.empty() && line.front() == ' ') line.remove_prefix(1);
      data += line;
    }
    return data;
  }

  void piece(const Json& json) {
    if (const auto usage = json.find("usage"); usage != json.end() && usage->is_object()) {
      outcome_.input_tokens = count_of(*usage, "prompt_tokens");
      outcome_.output_tokens = count_of(*usage, "completion_tokens");
      outcome_.counted = true;
    }
    const auto choices = json.find("choices");
    if (choices == json.end() || !choices->is_array() || choices->empty() || !has_text(choices->front())) return;
    const double now = seconds(sent_);
    if (outcome_.first_token == 0) {
      outcome_.first_token = now;
    } else {
      outcome_.gaps.push_back(now - outcome_.end);
    }
    outcome_.end = now;
  }

  LoadOutcome& outcome_;
  ClientClock::time_point sent_;
  bool done_ = false;
};

std::string header(const LoadTarget& target, std::size_t bytes) {
  std::string text = "POST " + target.path + " HTTP/1.1\r\nHost: " + target.host + "\r\nConnection: close\r\n";
  if (!target.key.empty()) text += "Authorization: Bearer " + target.key + "\r\n";
  return text + "Content-Type: application/json\r\nContent-Length: " + std::to_string(bytes) + "\r\n\r\n";
}

std::string run(const LoadTarget& target, const std::string& body, LoadOutcome& outcome) {
  const auto sent = ClientClock::now();
  const auto until = sent + std::chrono::milliseconds(static_cast<long>(target.timeout_seconds * 1000));
  auto client = TcpClient::connect(target.host, target.port, until);
  if (!client.ok()) return client.status().message();
  if (const Status status = client->send(header(target, body.size()) + body, until); !status.ok()) {
    return status.message();
  }
  HttpBody answer;
  StreamReader reader(outcome, sent);
  for (bool more = true; more && !answer.complete();) {
    std::string bytes;
    auto received = client->receive(bytes, until);
    if (!received.ok()) return received.status().message();
    more = *received;
    if (const Status status = answer.take(bytes); !status.ok()) return status.message();
    if (answer.status() != 200) continue;
    if (const std::string wrong = reader.take(answer.body()); !wrong.empty()) return wrong;
  }
  if (answer.status() != 200) return "status " + std::to_string(answer.status()) + ": " + answer.body().substr(0, 200);
  if (!reader.done()) return "the stream ended without [DONE]";
  if (outcome.first_token == 0) outcome.first_token = outcome.end = seconds(sent);  // it had no text
  return {};
}

}  // namespace

std::string request_body(const LoadTarget& target, const LoadRequest& request) {
  std::string body = "{" + request.input + ", \"stream\": true, \"stream_options\": {\"include_usage\": true}";
  if (!target.model.empty()) body += ", \"model\": " + Json(target.model).dump();
  if (request.output_tokens > 0) body += ", \"max_tokens\": " + std::to_string(request.output_tokens);
  if (!target.extra.empty()) body += ", " + target.extra;
  return body + "}";
}

LoadOutcome stream_request(const LoadTarget& target, const LoadRequest& request) {
  LoadOutcome outcome;
  outcome.error = run(target, request_body(target, request), outcome);
  outcome.ok = outcome.error.empty();
  if (!outcome.counted) outcome.output_tokens = static_cast<int>(outcome.gaps.size()) + (outcome.ok ? 1 : 0);
  return outcome;
}

}  // namespace foregate
