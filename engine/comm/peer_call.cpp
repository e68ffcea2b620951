#include "engine/comm/peer_call.h"

#include <algorithm>
#include <span>
#include <vector>

#include "engine/comm/body.h"

namespace foregate {
namespace {

constexpr std::uint64_t kMostBytes = 2048;  // of a message of a call
constexpr std::size_t kMostText = 1024;

// Yes or no, and a text.
std::vector<std::byte> say(bool yes, const std::string& text) {
  std::vector<std::byte> body;
  BodyWriter writer(body);
  writer.put(std::uint32_t{yes ? 1u : 0u});
  writer.put(std::span<const char>(text.data(), std::min(text.size(), kMostText)));
  return body;
}

struct Said {
  bool yes = false;
  std::string text;
};

Result<Said> hear(RankLine& line, TimeNs deadline) {
  ASSIGN_OR_RETURN(const Message message, line.receive({.most_bytes = kMostBytes}, deadline));
  BodyReader reader(message.body);
  std::uint32_t yes = 0;
  if (message.kind != MessageKind::kPeers || !reader.take(yes) || yes > 1 || reader.left() > kMostText) {
    return data_loss("a rank does not say which device it has");
  }
  Said said{.yes = yes == 1, .text = std::string(reader.left(), ' ')};
  reader.take(std::span(said.text.data(), said.text.size()));
  return said;
}

struct Called {
  std::uint32_t join = 0;
  TimeNs join_limit = 0;
  TimeNs answer_limit = 0;
  PeerId id = {};
};

std::vector<std::byte> write_called(const Called& called) {
  std::vector<std::byte> body;
  BodyWriter writer(body);
  writer.put(called.join);
  writer.put(called.join_limit);
  writer.put(called.answer_limit);
  writer.put(std::span<const std::byte>(called.id));
  return body;
}

Result<Called> read_called(const Message& message) {
  BodyReader reader(message.body);
  Called called;
  const bool whole = reader.take(called.join) && reader.take(called.join_limit) && reader.take(called.answer_limit) &&
                     reader.take(std::span<std::byte>(called.id)) && reader.left() == 0;
  if (message.kind != MessageKind::kPeers || !whole || called.join > 1 || called.join_limit < 0 ||
      called.answer_limit < 0) {
    return data_loss("rank 0 does not say whether rows go between devices");
  }
  return called;
}

double seconds(TimeNs time) {
  return static_cast<double>(time) * 1e-9;
}

TimeNs from_now(TimeNs limit) {
  const TimeNs now = system_clock().now();
  return limit > kNoDeadline - now ? kNoDeadline : now + limit;
}

}  // namespace

Result<PeerCall> call_peer(RankLine& line, Device& device, const PeerCallOptions& options) {
  ASSIGN_OR_RETURN(const Said offer, hear(line, kNoDeadline));
  PeerCall call;
  PeersOptions peers{.library = options.library,
                     .rank = 0,
                     .size = 2,
                     .limit_seconds = seconds(options.join_limit),
                     .cancelled = options.cancelled};
  if (!offer.yes) {
    call.why_not = offer.text;
  } else if (options.objection) {
    call.why_not = options.objection(offer.text);
  }
  if (call.why_not.empty() && !device.name_peers(peers, &call.why_not) && call.why_not.empty()) {
    call.why_not = "the two have no name";
  }
  const Called called{.join = call.why_not.empty() ? 1u : 0u,
                      .join_limit = options.join_limit,
                      .answer_limit = options.answer_limit,
                      .id = peers.id};
  RETURN_IF_ERROR(line.send(MessageKind::kPeers, 0, write_called(called), from_now(options.join_limit)));
  if (called.join == 0) return call;
  call.peers = device.join_peers(peers, &call.why_not);
  // Where this side failed at once the other still waits for it.
  ASSIGN_OR_RETURN(const Said joined, hear(line, from_now(2 * options.join_limit)));
  if (call.peers == nullptr || joined.yes) return call;
  call.peers->abort();
  return PeerCall{.peers = nullptr, .why_not = joined.text};
}

Result<PeerAnswer> answer_peer(RankLine& line, Device& device, const std::string& library) {
  const std::string missing = device.peers_missing(library);
  const std::string identity = device.identity();
  const bool offers = missing.empty() && !identity.empty();
  const std::string why = missing.empty() ? "its device has no name" : missing;
  RETURN_IF_ERROR(line.send(MessageKind::kPeers, 0, say(offers, offers ? identity : why), kNoDeadline));
  ASSIGN_OR_RETURN(const Message message, line.receive({.most_bytes = kMostBytes}, kNoDeadline));
  ASSIGN_OR_RETURN(const Called called, read_called(message));
  PeerAnswer answer{.call = {}, .answer_limit = called.answer_limit};
  if (called.join == 0) return answer;
  const PeersOptions peers{
      .library = library, .rank = 1, .size = 2, .id = called.id, .limit_seconds = seconds(called.join_limit)};
  answer.call.peers = device.join_peers(peers, &answer.call.why_not);
  const bool joined = answer.call.peers != nullptr;
  RETURN_IF_ERROR(line.send(MessageKind::kPeers, 0, say(joined, answer.call.why_not), kNoDeadline));
  return answer;
}

}  // namespace foregate
