// A walk through the client: what is served, a whole answer, a stream, one that is left, and an error.
// usage: tour [TARGET]
#include <cstdio>
#include <string>

#include "foregate/client.h"

namespace fc = foregate::client;

int main(int argc, char** argv) {
  fc::ClientOptions options;
  if (argc > 1) options.target = argv[1];
  options.timeout = std::chrono::seconds(60);
  fc::Client client(options);

  const auto model = client.model_info();
  if (!model) {
    std::fprintf(stderr, "no server at %s: %s\n", options.target.c_str(), model.error().to_string().c_str());
    return 1;
  }
  std::printf("model: %s, %d tokens at most\n", model->model.c_str(), model->max_model_len);

  fc::GenerateRequest request;
  request.prompt = "Once upon a time";
  request.sampling.temperature = 0.0f;
  request.sampling.max_tokens = 40;
  const auto reply = client.generate(request);
  if (!reply) return std::fprintf(stderr, "%s\n", reply.error().to_string().c_str()), 1;
  std::printf("whole: %s\n", reply->choices[0].text.c_str());

  std::string text;
  fc::Delta delta;
  fc::Stream stream = client.stream(request);
  while (stream.next(delta)) text += delta.text;
  if (!stream.error().ok()) return std::fprintf(stderr, "%s\n", stream.error().to_string().c_str()), 1;
  std::printf("stream: %s\n", text.c_str());

  request.sampling.max_tokens = 1000;
  request.sampling.ignore_eos = true;
  fc::Stream left = client.stream(request);
  if (left.next(delta)) left.cancel();
  while (left.next(delta)) {
  }
  std::printf("left: %s\n", fc::code_name(left.error().code));

  request.form = fc::Form{fc::Form::Kind::kChoice, {}, {"yes", "no"}};
  const auto chosen = client.generate(request);
  std::printf("chosen: %s\n", chosen ? chosen->choices[0].text.c_str() : chosen.error().to_string().c_str());

  request.sampling.temperature = -1.0f;
  const auto refused = client.generate(request);
  std::printf("refused: %s\n", refused ? "no" : refused.error().field.c_str());

  fc::CallOptions brief;
  brief.timeout = std::chrono::milliseconds(100);
  request = {"Once upon a time"};
  request.sampling.max_tokens = 1000;
  request.sampling.ignore_eos = true;
  const auto late = client.generate(request, brief);
  std::printf("late: %s\n", late ? "no" : fc::code_name(late.error().code));
}
