// Rows of MoeExchange from and to a device whose memory the host does not see: from device to device where the rank is
// a peer, else through host memory and the line.
#include <cstring>
#include <utility>

#include "engine/comm/peer_wait.h"
#include "engine/model/moe_exchange.h"

namespace foregate {

Status MoeExchange::find_links(Flight& flight) {
  for (std::size_t rank = 1; rank < flight.shares.size(); ++rank) {
    Share& share = flight.shares[rank];
    share.link = {};
    if (share.from.empty()) continue;
    const RankId id{static_cast<std::int32_t>(rank)};
    auto link = ranks_.link(id);
    if (!link.ok()) return of_rank(id, link.status());
    share.link = std::move(link).value();
  }
  return {};
}

// INV-21 and INV-23 as in send(). Each rank gets its rows in one message.
Status MoeExchange::send_from_device(Flight& flight) {
  begin_flight(flight, cut_shares(flight));
  RETURN_IF_ERROR(find_links(flight));
  bool by_line = false;
  device_->begin();
  for (std::size_t rank = 1; rank < flight.shares.size(); ++rank) {
    Share& share = flight.shares[rank];
    if (share.from.empty()) continue;
    share.sent = device_->add(share.from);
    by_line = by_line || share.link.peers == nullptr;
  }
  device_->gather(*flight.step);
  const std::byte* const host = by_line ? device_->bring(*flight.step) : nullptr;
  for (std::size_t rank = 1; rank < flight.shares.size(); ++rank) {
    if (flight.shares[rank].from.empty()) continue;
    const RankId id{static_cast<std::int32_t>(rank)};
    const Status sent = send_share(flight, flight.shares[rank], host);
    if (sent.ok()) continue;
    ranks_.drop(id, sent);
    return of_rank(id, sent);
  }
  return {};
}

Status MoeExchange::send_share(Flight& flight, Share& share, const std::byte* host) {
  const std::size_t bytes = share.from.size() * static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  share.rows.rows = static_cast<std::int64_t>(share.from.size());
  if (share.link.peers == nullptr) {
    std::memcpy(write_rows(share.rows, limits_.hidden, body_).data(), host + device_->offset_of(share.sent), bytes);
    RETURN_IF_ERROR(share.link.line->send(MessageKind::kRows, flight.first_epoch, body_, flight.deadline));
  } else {
    write_rows(share.rows, 0, body_);
    RETURN_IF_ERROR(share.link.line->send(MessageKind::kPeerRows, flight.first_epoch, body_, flight.deadline));
    share.link.peers->after(flight.step->stream);
    RETURN_IF_ERROR(begin_send(*share.link.peers, share.sent, bytes));
    flight.crossed.peer_bytes += bytes;
  }
  share.line = std::move(share.link.line);
  share.due = 1;
  flight.crossed.rows += share.from.size();
  flight.crossed.bytes += kMessageHeaderBytes + body_.size() + (share.link.peers != nullptr ? bytes : 0);
  return {};
}

// Outputs that came over the line go up; those of a peer begin to arrive. The rows that it got are through by now, or
// are given up at the deadline.
Status MoeExchange::take_outputs(Flight& flight, Share& share, std::span<const std::byte> outputs) {
  const std::size_t bytes = share.out_rows.size() * static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  if (share.link.peers == nullptr) {
    flight.step->stream.upload(device_->place(share.out_rows), outputs.data(), bytes);
    return {};
  }
  RETURN_IF_ERROR(finish_group(*share.link.peers, flight.deadline, share.link.gone.get()));
  flight.crossed.bytes += bytes;
  flight.crossed.peer_bytes += bytes;
  return begin_receive(*share.link.peers, device_->place(share.out_rows), bytes);
}

// INV-22 for peers: no group is under way after an exchange.
Status MoeExchange::finish_peers(Flight& flight) {
  Status first;
  for (std::size_t rank = 1; rank < flight.shares.size(); ++rank) {
    const auto peers = std::exchange(flight.shares[rank].link.peers, nullptr);
    if (peers == nullptr || !peers->failure().empty()) continue;
    const Status done = finish_group(*peers, flight.deadline, flight.shares[rank].link.gone.get());
    if (done.ok()) continue;
    const RankId id{static_cast<std::int32_t>(rank)};
    ranks_.drop(id, done);
    if (first.ok()) first = of_rank(id, done);
  }
  return first;
}

}  // namespace foregate
