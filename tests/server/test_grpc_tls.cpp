// gRPC over TLS: a call with the certificate of now, none without TLS, and a certificate that changes under way.
#include <foregate/v1/inference.grpc.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "server/grpc/grpc_server.h"
#include "server/net/memory_file.h"
#include "server/net/tcp.h"
#include "tests/server/fake_engine.h"
#include "tests/server/tls_peer.h"

namespace foregate {
namespace {

using test::make_pair;
using test::Pair;

struct GrpcTlsTest : testing::Test {
  std::unique_ptr<TcpLoop> loop = make_tcp_loop();
  Metrics metrics;
  test::FakeParts parts;
  MemoryFile pair_file, ca_file;
  Pair first = make_pair(1);
  GrpcOptions options;
  std::unique_ptr<Frontend> frontend;
  std::unique_ptr<GrpcServer> server;
  std::thread loop_thread;

  void start() {
    ASSERT_TRUE(pair_file.put(first.key + first.certificate).ok());
    options.key_and_chain_path = pair_file.path();
    frontend = std::make_unique<Frontend>(*loop, FrontendOptions{});
    frontend->set_backend(parts.backend);
    auto made = GrpcServer::start(*loop, *frontend, options, metrics);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    server = std::move(made).value();
    loop_thread = std::thread([this] { loop->run(); });
  }
  void TearDown() override {
    if (!server) return;
    loop->stop();
    loop_thread.join();
    server->begin_shutdown();
    while (!server->stopped()) {
      loop->run_ready();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    loop->run_ready();
    server = nullptr;
    frontend = nullptr;
  }
  grpc::Status ask(const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt("grpc.use_local_subchannel_pool", 1);  // a handshake of its own
    const auto channel =
        grpc::CreateCustomChannel("localhost:" + std::to_string(server->port()), credentials, arguments);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    v1::HealthCheckResponse response;
    return v1::Inference::NewStub(channel)->HealthCheck(&context, {}, &response);
  }
  static std::shared_ptr<grpc::ChannelCredentials> trusting(const Pair& root, const Pair* own = nullptr) {
    grpc::SslCredentialsOptions chosen;
    chosen.pem_root_certs = root.certificate;
    if (own != nullptr) {
      chosen.pem_cert_chain = own->certificate;
      chosen.pem_private_key = own->key;
    }
    return grpc::SslCredentials(chosen);
  }
};

TEST_F(GrpcTlsTest, CallsAreEncryptedAndTheCertificateIsCheckedByItsClients) {
  start();
  EXPECT_TRUE(ask(trusting(first)).ok());
  EXPECT_FALSE(ask(trusting(make_pair(5))).ok());
  EXPECT_FALSE(ask(grpc::InsecureChannelCredentials()).ok());
}

TEST_F(GrpcTlsTest, AChangedCertificateIsShownWithinSeconds) {
  start();
  ASSERT_TRUE(ask(trusting(first)).ok());
  const Pair second = make_pair(2);
  ASSERT_TRUE(pair_file.put(second.key + second.certificate).ok());
  bool shown = false;
  for (int i = 0; i < 100 && !shown; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    shown = ask(trusting(second)).ok();
  }
  EXPECT_TRUE(shown);
  EXPECT_FALSE(ask(trusting(first)).ok());
}

TEST_F(GrpcTlsTest, ClientsNeedACertificateWhereAuthoritiesAreNamed) {
  const Pair known = make_pair(7), unknown = make_pair(8);
  ASSERT_TRUE(ca_file.put(known.certificate).ok());
  options.client_ca_path = ca_file.path();
  start();
  EXPECT_TRUE(ask(trusting(first, &known)).ok());
  EXPECT_FALSE(ask(trusting(first, &unknown)).ok());
  EXPECT_FALSE(ask(trusting(first)).ok());
}

}  // namespace
}  // namespace foregate
