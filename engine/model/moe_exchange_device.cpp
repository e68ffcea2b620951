// Rows of MoeExchange from and to a device whose memory the host does not see: from device to device where the rank is
// a peer, else through host memory and the line.
#include <cstring>
#include <utility>

#include "engine/comm/peer_wait.h"
#include "engine/model/moe_exchange.h"

namespace foregate {

Status MoeExchange::find_links() {
  for (std::size_t rank = 1; rank < parts_.size(); ++rank) {
    Part& part = parts_[rank];
    part.link = {};
    if (part.from.empty()) continue;
    const RankId id{static_cast<std::int32_t>(rank)};
    auto link = ranks_.link(id);
    if (!link.ok()) return of_rank(id, link.status());
    part.link = std::move(link).value();
  }
  return {};
}

// INV-21 and INV-23 as in send().
Status MoeExchange::send_from_device(const Step& step, TimeNs deadline) {
  RETURN_IF_ERROR(find_links());
  bool by_line = false;
  device_->begin();
  for (std::size_t rank = 1; rank < parts_.size(); ++rank) {
    Part& part = parts_[rank];
    if (part.from.empty()) continue;
    part.sent = device_->add(part.from);
    by_line = by_line || part.link.peers == nullptr;
  }
  device_->gather(step);
  const std::byte* const host = by_line ? device_->bring(step) : nullptr;
  for (std::size_t rank = 1; rank < parts_.size(); ++rank) {
    if (parts_[rank].from.empty()) continue;
    const RankId id{static_cast<std::int32_t>(rank)};
    const Status sent = send_part(step, parts_[rank], host, deadline);
    if (sent.ok()) continue;
    ranks_.drop(id, sent);
    return of_rank(id, sent);
  }
  return {};
}

Status MoeExchange::send_part(const Step& step, Part& part, const std::byte* host, TimeNs deadline) {
  const std::size_t bytes = part.from.size() * static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  if (part.link.peers == nullptr) {
    std::memcpy(write_rows(part.rows, limits_.hidden, part.body).data(), host + device_->offset_of(part.sent), bytes);
    RETURN_IF_ERROR(part.link.line->send(MessageKind::kRows, epoch_, part.body, deadline));
  } else {
    write_rows(part.rows, 0, part.body);
    RETURN_IF_ERROR(part.link.line->send(MessageKind::kPeerRows, epoch_, part.body, deadline));
    part.link.peers->after(step.stream);
    RETURN_IF_ERROR(begin_send(*part.link.peers, part.sent, bytes));
    crossed_.peer_bytes += bytes;
  }
  part.line = std::move(part.link.line);
  crossed_.rows += part.from.size();
  crossed_.bytes += kMessageHeaderBytes + part.body.size() + (part.link.peers != nullptr ? bytes : 0);
  return {};
}

// Outputs that came over the line go up; those of a peer begin to arrive. The rows that it got are through by now, or
// are given up at the deadline.
Status MoeExchange::take_outputs(const Step& step, Part& part, std::span<const std::byte> outputs, TimeNs deadline) {
  const std::size_t bytes = part.out_rows.size() * static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  if (part.link.peers == nullptr) {
    step.stream.upload(device_->place(part.out_rows), outputs.data(), bytes);
    return {};
  }
  RETURN_IF_ERROR(finish_group(*part.link.peers, deadline, part.link.gone.get()));
  crossed_.bytes += bytes;
  crossed_.peer_bytes += bytes;
  return begin_receive(*part.link.peers, device_->place(part.out_rows), bytes);
}

// INV-22 for peers: no group is under way after an exchange.
Status MoeExchange::finish_peers(TimeNs deadline) {
  Status first;
  for (std::size_t rank = 1; rank < parts_.size(); ++rank) {
    const auto peers = std::exchange(parts_[rank].link.peers, nullptr);
    if (peers == nullptr || !peers->failure().empty()) continue;
    const Status done = finish_group(*peers, deadline, parts_[rank].link.gone.get());
    if (done.ok()) continue;
    const RankId id{static_cast<std::int32_t>(rank)};
    ranks_.drop(id, done);
    if (first.ok()) first = of_rank(id, done);
  }
  return first;
}

}  // namespace foregate
