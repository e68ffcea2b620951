// The whole server over the in-memory network and an engine that the test drives. One thread.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/http/http_server.h"
#include "server/http/service.h"
#include "tests/server/fake_engine.h"
#include "tests/server/memory_net.h"

namespace foregate::test {

using Json = nlohmann::ordered_json;
inline std::string post(const std::string& path, const std::string& body, const std::string& headers = "") {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

inline std::string get(const std::string& path, const std::string& headers = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n";
}

inline std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

inline Json body_of(const std::string& answer) {
  return Json::parse(answer.substr(answer.find("\r\n\r\n") + 4));
}

inline constexpr const char* kChat = R"({"messages": [{"role": "user", "content": "hi"}]})";
inline constexpr const char* kStream = R"({"messages": [{"role": "user", "content": "hi"}], "stream": true})";

struct ServiceTest : testing::Test {
  MemoryLoop loop;
  Metrics metrics;
  FakeParts parts;
  HttpOptions http_options;
  ServiceOptions service_options;
  std::unique_ptr<Frontend> frontend;
  std::unique_ptr<Service> service;
  std::unique_ptr<HttpServer> http;

  void start(bool loaded = true) {
    frontend = std::make_unique<Frontend>(loop, FrontendOptions{});
    service = std::make_unique<Service>(loop, *frontend, service_options, metrics);
    http = std::make_unique<HttpServer>(loop, http_options, service->callbacks(), metrics);
    if (loaded) frontend->set_backend(parts.backend);
  }
  void TearDown() override {
    http.reset();
    parts.engine->live.clear();
    service.reset();
    frontend.reset();
    loop.turn();
  }
  std::shared_ptr<MemoryConnection> connect() {
    auto connection = std::make_shared<MemoryConnection>(loop);
    http->accept(connection);
    return connection;
  }
  std::shared_ptr<MemoryConnection> ask(const std::string& request) {
    auto connection = connect();
    connection->send(request);
    loop.turn();
    return connection;
  }
  // Asks and waits until the engine has it; gives the request's id.
  std::uint64_t submit(const std::shared_ptr<MemoryConnection>& connection, const std::string& request) {
    const std::uint64_t before = parts.engine->last_id();
    connection->send(request);
    EXPECT_TRUE(loop.turn_until([&] { return parts.engine->last_id() != before; })) << connection->received;
    loop.turn();
    return parts.engine->last_id();
  }
};

}  // namespace foregate::test
