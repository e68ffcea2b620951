// TLS over the in-memory network: answers and streams, handshakes that do not end, certificates that change.
#include <gtest/gtest.h>

#include <filesystem>

#include "server/net/tls_store.h"
#include "tests/server/service_fixture.h"
#include "tests/server/tls_peer.h"

namespace foregate {
namespace {

using namespace test;

struct TlsTest : ServiceTest {
  std::string folder = testing::TempDir() + "tls_" + testing::UnitTest::GetInstance()->current_test_info()->name();
  TlsOptions options;
  Pair first = make_pair(1);
  std::unique_ptr<TlsStore> store;

  void SetUp() override {
    std::filesystem::create_directories(folder);
    options.files.certificate = folder + "/cert.pem";
    options.files.key = folder + "/key.pem";
    put(first);
  }
  void TearDown() override {
    ServiceTest::TearDown();
    std::filesystem::remove_all(folder);
  }
  void put(const Pair& pair) const {
    write_text(options.files.certificate, pair.certificate);
    write_text(options.files.key, pair.key);
  }
  void open() {
    start();
    auto opened = TlsStore::open(loop, options, metrics);
    ASSERT_TRUE(opened.ok()) << opened.status().message();
    store = std::move(opened).value();
  }
  std::shared_ptr<MemoryConnection> connect_tls() {
    auto connection = std::make_shared<MemoryConnection>(loop);
    http->accept(store->secure(connection));
    loop.turn();
    return connection;
  }
  double count_of(const char* name, const char* result) {
    return metrics.counter(name, "", {{"result", result}}).value();
  }
  double handshakes(const char* result) { return count_of("foregate_tls_handshakes", result); }
  long shown() {
    TlsPeer peer(loop, connect_tls());
    peer.send(get("/health"));
    EXPECT_NE(peer.received.find("200 OK"), std::string::npos);
    return peer.shown_serial();
  }
};

TEST_F(TlsTest, AnswersAndStreamsAreThoseOfAPlainConnection) {
  open();
  auto plain = ask(get("/health") + get("/nowhere"));
  TlsPeer peer(loop, connect_tls());
  peer.send(get("/health") + get("/nowhere"));
  EXPECT_EQ(peer.received, plain->received);
  EXPECT_STREQ(peer.version(), "TLSv1.3");
  EXPECT_EQ(handshakes("done"), 1);

  const std::uint64_t before = parts.engine->last_id();
  TlsPeer stream(loop, connect_tls());
  stream.send(post("/v1/chat/completions", kStream));
  ASSERT_TRUE(loop.turn_until([&] { return parts.engine->last_id() != before; }));
  std::string said;
  for (int i = 0; i < 300; ++i) {
    const std::string word(100, static_cast<char>('a' + i % 26));
    said += word;
    parts.engine->say(parts.engine->last_id(), 0, word);
  }
  stream.pump();
  EXPECT_GT(stream.received.size(), 30000u) << "text goes out while the answer grows";
  parts.engine->finish(parts.engine->last_id(), 0, FinishReason::kStop, kEos);
  stream.pump();
  EXPECT_EQ(count(stream.received, "data: [DONE]"), 1u);
  EXPECT_EQ(stream.received.substr(stream.received.size() - 5), "0\r\n\r\n");
}

TEST_F(TlsTest, EverySplitOfTheBytesGivesTheSameAnswer) {
  open();
  std::string expected;
  for (const std::size_t size : {1, 2, 5, 100, 1000, 16384}) {
    const auto connection = connect_tls();
    connection->largest_read = size;
    TlsPeer peer(loop, connection);
    peer.send(get("/health", "Connection: close\r\n"));
    if (expected.empty()) expected = peer.received;
    EXPECT_NE(peer.received.find("200 OK"), std::string::npos) << size;
    EXPECT_EQ(peer.received, expected) << size;
    EXPECT_TRUE(peer.ended) << "the end is said, so that nobody can cut an answer short";
  }
}

TEST_F(TlsTest, AHandshakeThatDoesNotEndIsDropped) {
  options.handshake_seconds = 5;
  open();
  const auto silent = connect_tls();
  const auto half = connect_tls();
  TlsPeer peer(loop, half);
  const std::string hello = peer.hello();
  half->send(hello.substr(0, hello.size() / 2));
  const auto endless = connect_tls();
  // Records of a first message that is said to have 16 MB.
  for (int i = 0; i < 200; ++i) {
    std::string record("\x16\x03\x01\x40\x00", 5);
    record += (i == 0 ? std::string("\x01\xff\xff\xff", 4) : std::string(4, 'x')) + std::string(16380, 'x');
    endless->send(record);
  }
  const auto http = connect_tls();
  http->send(get("/health"));
  loop.turn();
  EXPECT_TRUE(endless->closed) << "refused by its announced size, not kept";
  EXPECT_TRUE(http->closed);
  EXPECT_EQ(http->received.find("HTTP/"), std::string::npos);
  EXPECT_EQ(handshakes("failed"), 2);
  loop.advance(4.9);
  EXPECT_FALSE(silent->closed);
  EXPECT_FALSE(half->closed);
  loop.advance(0.2);
  EXPECT_TRUE(silent->closed);
  EXPECT_TRUE(half->closed);
  EXPECT_EQ(handshakes("too_slow"), 2);
  loop.turn();
  EXPECT_EQ(this->http->connections(), 0u);
}

TEST_F(TlsTest, WhoDoesNotReadIsDroppedAndCancelled) {
  open();
  const std::uint64_t before = parts.engine->last_id();
  const auto connection = connect_tls();
  TlsPeer peer(loop, connection);
  peer.send(post("/v1/chat/completions", kStream));
  ASSERT_TRUE(loop.turn_until([&] { return parts.engine->last_id() != before; }));
  loop.turn();
  connection->window = 0;
  for (int i = 0; i < 20; ++i) parts.engine->say(parts.engine->last_id(), 0, std::string(200, 'x'));
  loop.turn();
  loop.advance(http_options.stall_timeout + 1);
  EXPECT_TRUE(connection->closed);
  EXPECT_EQ(parts.engine->cancelled, 1);
}

TEST_F(TlsTest, AClientThatLeavesIsNoticedWithAndWithoutAGoodbye) {
  open();
  for (const bool says_so : {true, false}) {
    const std::uint64_t before = parts.engine->last_id();
    const auto connection = connect_tls();
    TlsPeer peer(loop, connection);
    peer.send(post("/v1/chat/completions", kChat));
    ASSERT_TRUE(loop.turn_until([&] { return parts.engine->last_id() != before; }));
    const int cancelled = parts.engine->cancelled;
    if (says_so) {
      SSL_shutdown(peer.ssl());
      peer.pump();
    } else {
      connection->hang_up();
    }
    loop.turn();
    EXPECT_EQ(parts.engine->cancelled, cancelled + 1);
    EXPECT_TRUE(connection->closed);
  }
}

TEST_F(TlsTest, AChangedCertificateIsShownAndABrokenOneIsNot) {
  open();
  EXPECT_EQ(shown(), 1);
  TlsPeer old(loop, connect_tls());
  old.send(get("/health"));
  const Pair second = make_pair(22);
  write_text(options.files.certificate, second.certificate);  // and the key of the first one: no pair
  loop.advance(1.1);
  EXPECT_EQ(shown(), 1);
  EXPECT_EQ(count_of("foregate_tls_reloads", "failed"), 1);
  loop.advance(5);
  EXPECT_EQ(count_of("foregate_tls_reloads", "failed"), 1) << "once for each change";
  put(second);
  loop.advance(1.1);
  EXPECT_EQ(shown(), 22);
  EXPECT_EQ(count_of("foregate_tls_reloads", "done"), 1);
  old.send(get("/health"));
  EXPECT_EQ(count(old.received, "200 OK"), 2u) << "connections go on";
  std::filesystem::remove(options.files.key);
  store->reload();
  EXPECT_EQ(shown(), 22);
  EXPECT_EQ(count_of("foregate_tls_reloads", "failed"), 2);
}

TEST_F(TlsTest, WithoutLooksAtTheFilesOnlyACallReadsThem) {
  options.look_seconds = 0;
  open();
  put(make_pair(9));
  loop.advance(60);
  EXPECT_EQ(shown(), 1);
  store->reload();
  EXPECT_EQ(shown(), 9);
}

TEST_F(TlsTest, ClientsNeedACertificateWhereAuthoritiesAreNamed) {
  const Pair known = make_pair(7), unknown = make_pair(8);
  options.files.client_ca = folder + "/ca.pem";
  write_text(options.files.client_ca, known.certificate);
  open();
  for (const Pair* own : {static_cast<const Pair*>(nullptr), &unknown, &known}) {
    const auto connection = connect_tls();
    TlsPeer peer(loop, connection, own);
    peer.send(get("/health"));
    EXPECT_EQ(peer.received.find("200 OK") != std::string::npos, own == &known);
    EXPECT_EQ(connection->closed, own != &known);
  }
  EXPECT_EQ(handshakes("failed"), 2);
}

TEST_F(TlsTest, FilesThatCannotBeUsedAreNamed) {
  const auto field_of = [&](const TlsFiles& files) { return read_tls_context(files).status().field(); };
  ASSERT_TRUE(read_tls_context(options.files).ok());
  const Pair other = make_pair(3), locked = make_pair(4, "secret");
  const std::string garbage = folder + "/garbage.pem", key = folder + "/other.pem", closed = folder + "/locked.pem";
  write_text(garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  write_text(key, other.key);
  write_text(closed, locked.key);
  EXPECT_EQ(field_of({folder + "/none.pem", options.files.key, ""}), "--ssl-certfile");
  EXPECT_EQ(field_of({garbage, options.files.key, ""}), "--ssl-certfile");
  EXPECT_EQ(field_of({options.files.key, options.files.key, ""}), "--ssl-certfile");
  EXPECT_EQ(field_of({folder, options.files.key, ""}), "--ssl-certfile");
  EXPECT_EQ(field_of({options.files.certificate, folder + "/none.pem", ""}), "--ssl-keyfile");
  EXPECT_EQ(field_of({options.files.certificate, key, ""}), "--ssl-keyfile");
  EXPECT_EQ(field_of({options.files.certificate, closed, ""}), "--ssl-keyfile");
  EXPECT_EQ(field_of({options.files.certificate, options.files.key, options.files.key}), "--ssl-ca-certs");
  EXPECT_EQ(field_of({options.files.certificate, options.files.key, garbage}), "--ssl-ca-certs");
  const auto whole = read_tls_context({options.files.certificate, options.files.key, options.files.certificate});
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  EXPECT_GT(whole->not_after, 1'700'000'000);
}

TEST(MemoryFile, ChangesAsAWholeUnderOnePath) {
  MemoryFile file;
  ASSERT_TRUE(file.put("one").ok());
  const std::string path = file.path();
  std::ifstream open_before(path);
  ASSERT_TRUE(file.put("second text").ok());
  EXPECT_EQ(file.path(), path);
  const auto all = [](std::istream& from) { return std::string(std::istreambuf_iterator<char>(from), {}); };
  std::ifstream open_after(path);
  EXPECT_EQ(all(open_before), "one");
  EXPECT_EQ(all(open_after), "second text");
}

}  // namespace
}  // namespace foregate
