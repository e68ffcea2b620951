// Who may do what: keys, the admin key, limits of a client, pages of other sites.
#include <gtest/gtest.h>

#include <fstream>

#include "server/app/access.h"
#include "server/http/router.h"
#include "server/ops/auth.h"
#include "tests/server/service_fixture.h"

namespace foregate {
namespace {

using namespace test;

// SHA-256 of "secret".
constexpr const char* kDigest = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

std::string bearer(const std::string& key) {
  return "Authorization: Bearer " + key + "\r\n";
}

struct AccessTest : ServiceTest {
  std::string status_of(const Route& route, const std::string& headers) {
    std::string path(route.path);
    if (const auto at = path.find("{id}"); at != std::string::npos)
      path.replace(at, 4, route.endpoint == Endpoint::kPage ? "chat.js" : "demo");
    const bool form = route.body == Body::kForm;
    const std::string type = form ? "Content-Type: multipart/form-data; boundary=x\r\n" : "";
    std::string request = route.method == "GET" ? get(path, headers) : post(path, "{}", headers + type);
    if (route.method == "DELETE") request = "DELETE" + get(path, headers).substr(3);
    const auto connection = ask(request);
    EXPECT_TRUE(loop.turn_until([&] { return !connection->received.empty(); })) << path;
    return connection->received.substr(9, 3);
  }
  std::string chat(const std::string& headers) {
    const auto connection = ask(post("/tokenize", R"({"prompt": "x"})", headers));
    EXPECT_TRUE(loop.turn_until([&] { return !connection->received.empty(); }));
    return connection->received;
  }
};

TEST_F(AccessTest, EveryRouteIsPublicOrForKeysOrForTheAdmin) {
  service_options.api_keys = {"secret"};
  service_options.admin_key = "boss";
  start();
  int open_routes = 0, admin_routes = 0;
  for (const Route& route : routes()) {
    const std::string name = std::string(route.method) + " " + std::string(route.path);
    const bool open = route.access == Access::kPublic, admin = route.access == Access::kAdmin;
    open_routes += open;
    admin_routes += admin;
    EXPECT_EQ(status_of(route, "") == "401", !open) << name;
    EXPECT_EQ(status_of(route, bearer("secreT")) == "401", !open) << name;
    EXPECT_EQ(status_of(route, bearer("secret")) == "401", admin) << name;
    EXPECT_NE(status_of(route, bearer("boss")), "401") << name;
    EXPECT_EQ(status_of(route, "x-api-key: secret\r\n") == "401", admin) << name;
  }
  EXPECT_EQ(open_routes, 5) << "only the health probes and the page are open";
  EXPECT_EQ(admin_routes, 3) << "stats, experts, slots";
}

TEST_F(AccessTest, WithoutAnAdminKeyAnyKeyOpensAll) {
  service_options.api_keys = {"secret"};
  start();
  for (const Route& route : routes()) EXPECT_NE(status_of(route, bearer("secret")), "401") << route.path;
}

TEST_F(AccessTest, AnAdminKeyAloneGuardsItsRoutesOnly) {
  service_options.admin_key = "boss";
  start();
  for (const Route& route : routes()) {
    EXPECT_EQ(status_of(route, "") == "401", route.access == Access::kAdmin) << route.path;
    EXPECT_NE(status_of(route, bearer("boss")), "401") << route.path;
  }
}

TEST_F(AccessTest, RequestsOfAMinuteAreCountedForEachKey) {
  service_options.api_keys = {"one", "two"};
  service_options.admin_key = "boss";
  ClientGate clients(loop.clock(), {3, 0}, metrics);
  service_options.clients = &clients;
  start();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(chat(bearer("one")).substr(9, 3), "200");
  const std::string refused = chat(bearer("one"));
  EXPECT_EQ(refused.substr(9, 3), "429");
  EXPECT_NE(refused.find("retry-after: 20\r\n"), std::string::npos) << refused;
  EXPECT_EQ(body_of(refused)["error"]["code"], "rate_limit_exceeded");
  EXPECT_EQ(ask(get("/v1/models", bearer("one")))->received.substr(9, 3), "200") << "a look is not counted";
  EXPECT_EQ(chat(bearer("two")).substr(9, 3), "200");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(chat(bearer("boss")).substr(9, 3), "200");
  loop.advance(19);
  EXPECT_EQ(chat(bearer("one")).substr(9, 3), "429");
  loop.advance(1.1);
  EXPECT_EQ(chat(bearer("one")).substr(9, 3), "200");
  EXPECT_EQ(chat(bearer("one")).substr(9, 3), "429");
  loop.advance(600);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(chat(bearer("one")).substr(9, 3), "200") << "no more than a minute's worth is saved";
  EXPECT_EQ(chat(bearer("one")).substr(9, 3), "429");
  EXPECT_EQ(metrics.counter("foregate_client_refusals", "", {{"reason", "rate"}}).value(), 4);
}

TEST_F(AccessTest, RequestsAtATimeAreCountedBeforeTheirBodies) {
  service_options.api_keys = {"one", "two"};
  ClientGate clients(loop.clock(), {0, 2}, metrics);
  service_options.clients = &clients;
  start();
  auto first = connect(), second = connect();
  const auto id = submit(first, post("/v1/chat/completions", kStream, bearer("one")));
  second->send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n" + bearer("one") + "\r\n");
  loop.turn();
  const auto third = ask("POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n" + bearer("one") + "\r\n");
  EXPECT_EQ(third->received.substr(9, 3), "429") << "no byte of a body was sent";
  EXPECT_EQ(body_of(third->received)["error"]["type"], "rate_limit_error");
  EXPECT_EQ(chat(bearer("two")).substr(9, 3), "200");
  second->hang_up();
  loop.turn();
  EXPECT_EQ(chat(bearer("one")).substr(9, 3), "200") << "who left does not count";
  EXPECT_EQ(chat(bearer("one")).substr(9, 3), "200") << "what is answered does not count";
  auto fourth = connect();
  fourth->send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n" + bearer("one") + "\r\n");
  loop.turn();
  EXPECT_EQ(chat(bearer("one")).substr(9, 3), "429");
  parts.engine->finish(id, 0, FinishReason::kStop, kEos);
  loop.turn();
  EXPECT_EQ(chat(bearer("one")).substr(9, 3), "200");
}

TEST_F(AccessTest, PagesOfOtherSitesAreToldNothingUnlessNamed) {
  start();
  const std::string asks =
      "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n"
      "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type, x-stainless-os\r\n\r\n";
  EXPECT_EQ(ask(asks)->received.find("access-control"), std::string::npos);
  EXPECT_EQ(ask(get("/v1/models", "Origin: https://a.example\r\n"))->received.find("access-control"),
            std::string::npos);
}

TEST_F(AccessTest, PagesOfNamedSitesMayAsk) {
  service_options.allowed_origins = {"https://a.example", "http://localhost:3000"};
  service_options.api_keys = {"secret"};
  start();
  const std::string asks =
      "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n"
      "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type, x-stainless-os\r\n\r\n";
  const std::string allowed = ask(asks)->received;
  EXPECT_EQ(allowed.substr(9, 3), "204") << "asked without a key, as browsers do";
  EXPECT_NE(allowed.find("access-control-allow-origin: https://a.example\r\n"), std::string::npos);
  EXPECT_NE(allowed.find("access-control-allow-methods: POST, OPTIONS\r\n"), std::string::npos);
  EXPECT_NE(allowed.find("access-control-allow-headers: content-type, x-stainless-os\r\n"), std::string::npos);
  for (const std::string& request :
       {get("/v1/models", bearer("secret") + "Origin: https://a.example\r\n"),
        get("/v1/models", "Origin: https://a.example\r\n"), get("/nowhere", "Origin: https://a.example\r\n")}) {
    const std::string answer = ask(request)->received;
    EXPECT_NE(answer.find("access-control-allow-origin: https://a.example\r\n"), std::string::npos) << answer;
    EXPECT_NE(answer.find("vary: origin\r\n"), std::string::npos);
  }
  for (const char* origin : {"https://b.example", "https://a.example.evil", "null", "https://A.example"}) {
    const std::string answer = ask(get("/health", std::string("Origin: ") + origin + "\r\n"))->received;
    EXPECT_EQ(answer.find("access-control"), std::string::npos) << origin;
    EXPECT_NE(answer.find("vary: origin\r\n"), std::string::npos);
  }
}

TEST_F(AccessTest, StreamsCarryTheHeadersToo) {
  service_options.allowed_origins = {"*"};
  start();
  auto connection = connect();
  submit(connection, post("/v1/chat/completions", kStream, "Origin: https://a.example\r\n"));
  EXPECT_NE(connection->received.find("access-control-allow-origin: *\r\n"), std::string::npos);
}

TEST(Auth, ComparesWholeKeys) {
  const Auth auth({"alpha", "beta"}, "boss");
  EXPECT_TRUE(auth.allows("Bearer alpha"));
  EXPECT_TRUE(auth.allows("bearer beta"));
  for (const char* bad : {"", "alpha", "Bearer", "Bearer ", "Bearer alph", "Bearer alphaa", "Bearer alphaalpha",
                          "Basic alpha", "Bearer  alpha", "Bearer Alpha"}) {
    EXPECT_FALSE(auth.allows(bad)) << bad;
  }
  EXPECT_TRUE(Auth({}).allows(""));
  EXPECT_EQ(auth.which("Bearer beta"), 2u);
  EXPECT_EQ(auth.which("Bearer boss"), 3u);
  EXPECT_EQ(auth.which("Bearer gamma"), 0u);
  EXPECT_EQ(Auth({}).which("Bearer alpha"), 0u);
  EXPECT_FALSE(auth.allows_admin("Bearer alpha"));
  EXPECT_TRUE(auth.allows_admin("Bearer boss"));
  EXPECT_NE(auth.owner(1), auth.owner(2));
  EXPECT_EQ(auth.owner(2), Auth({"beta"}).owner(1)) << "an owner is known in every run";
  EXPECT_EQ(auth.owner(0), "");
}

TEST(Auth, AKeyMayBeGivenAsItsDigest) {
  const Auth auth({kDigest});
  EXPECT_TRUE(auth.allows("Bearer secret"));
  EXPECT_FALSE(auth.allows(std::string("Bearer ") + kDigest)) << "who reads the options does not learn a key";
}

TEST(Access, KeysComeFromFilesAndAreChecked) {
  const std::string path = testing::TempDir() + "keys.txt";
  std::ofstream(path) << "# a remark\n\n  alpha \r\n" << kDigest << "\n";
  ServeOptions options;
  options.api_key = {"first"};
  options.api_key_file = path;
  ASSERT_TRUE(settle_access(options).ok());
  EXPECT_EQ(options.api_key, (std::vector<std::string>{"first", "alpha", kDigest}));
  std::ofstream(path, std::ios::trunc) << "boss\n";
  options = {};
  options.admin_api_key_file = path;
  ASSERT_TRUE(settle_access(options).ok());
  EXPECT_EQ(options.admin_api_key, "boss");
  EXPECT_EQ(settle_access(options).field(), "--admin-api-key-file") << "two of them";
  std::ofstream(path, std::ios::trunc) << "# nothing\n";
  options = {};
  options.api_key_file = path;
  EXPECT_EQ(settle_access(options).field(), "--api-key-file");
  options.api_key_file = "/nonexistent";
  EXPECT_EQ(settle_access(options).field(), "--api-key-file");
  for (const char* bad : {"two words", "sha256:12", "caf\xc3\xa9"}) {
    options = {};
    options.api_key = {bad};
    const Status status = settle_access(options);
    EXPECT_EQ(status.field(), "--api-key");
    EXPECT_EQ(status.message().find(bad), std::string::npos) << "keys are not repeated";
  }
  for (const char* bad : {"", "a.example", "https://", "https://a.example/", "://a", "https://a b"}) {
    options = {};
    options.allowed_origins = {bad};
    EXPECT_EQ(settle_access(options).field(), "--allowed-origins") << bad;
  }
  options.allowed_origins = {"*", "https://a.example", "http://[::1]:3000"};
  EXPECT_TRUE(settle_access(options).ok());
}

TEST(Access, WhatOnlyThisMachineReaches) {
  for (const char* host : {"127.0.0.1", "127.9.9.9", "::1", "localhost"}) EXPECT_TRUE(is_loopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "example.org", "1127.0.0.1"})
    EXPECT_FALSE(is_loopback(host)) << host;
}

}  // namespace
}  // namespace foregate
