// foregate health: asks a running server how it is; the exit code is the answer. For containers, which have no curl.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "server/config/options.h"
#include "tools/foregate/commands.h"
#include "tools/load/http_get.h"

namespace foregate {
namespace {

// Where `foregate serve` of the same environment (FOREGATE_PORT, FOREGATE_CONFIG, ...) listens.
Result<HttpPlace> place_of_environment() {
  const char* argv[] = {"health"};
  ASSIGN_OR_RETURN(const ParsedOptions parsed, parse_serve_options(1, argv, process_environment()));
  HttpPlace place;
  place.host = parsed.options.host;
  if (place.host == "0.0.0.0") place.host = "127.0.0.1";
  if (place.host == "::") place.host = "::1";
  place.port = std::to_string(parsed.options.port);
  place.tls = !parsed.options.ssl_certfile.empty();
  return place;
}

Result<HttpReply> ask(const std::string& url, bool live, double seconds) {
  HttpPlace place;
  if (url.empty()) {
    ASSIGN_OR_RETURN(place, place_of_environment());
  } else {
    ASSIGN_OR_RETURN(place, parse_http_url(url));
  }
  if (place.path == "/") place.path = live ? "/health/live" : "/health";
  return http_get(place, seconds);
}

}  // namespace

int health_command(int argc, char** argv) {
  std::string url;
  bool live = false;
  double seconds = 3;
  CLI::App app("Asks a running server how it is: exit code 0 when it takes requests", "foregate health");
  app.add_option("--url", url,
                 "http[s]://HOST[:PORT][/PATH]; default: where `foregate serve` listens in this environment");
  app.add_flag("--live", live, "only whether it works, loading and draining included: what a restart would mend");
  app.add_option("--timeout", seconds, "seconds to wait for the answer")->check(CLI::Range(0.05, 600.0));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int shown = app.exit(error);
    return shown == 0 ? 0 : 2;
  }
  const auto reply = ask(url, live, seconds);
  if (!reply.ok()) {
    std::fprintf(stderr, "foregate health: %s\n", reply.status().to_string().c_str());
    return reply.status().code() == Code::kInvalidArgument ? 2 : 1;
  }
  std::printf("%d %s\n", reply->status, reply->body.c_str());
  return reply->status == 200 ? 0 : 1;
}

}  // namespace foregate
