// Rows of RankExperts that come and go from device to device, while the line says what they are.
#include <algorithm>
#include <string>

#include "engine/comm/peer_wait.h"
#include "engine/model/moe_block.h"
#include "engine/model/rank_experts.h"

namespace foregate {

Status RankExperts::device_works() const {
  const char* const failed = stream_.failure();
  return failed == nullptr ? Status() : unavailable(std::string("the device failed: ") + failed);
}

Status RankExperts::take_peer_rows(std::span<const std::byte> body, RankJob& job) {
  if (peers_ == nullptr) return data_loss("rows of a peer, and this rank is none");
  ExpertRowsLimits announced = limits_;
  announced.hidden = 0;
  std::span<const std::byte> values;
  RETURN_IF_ERROR(read_rows(body, announced, 0, job.rows, values));
  if (!job.rows.part.alone()) return data_loss("a rank on a GPU takes its rows in one message");
  return check_held(job.rows);
}

// Outputs are announced as soon as the device has been told to make and send them: rank 0 begins to take them then.
// INV-23: what is waited for here ends with the limit, and this rank with it.
Status RankExperts::serve_peer_rows(RankLine& line, const Message& asked) {
  RankJob job;
  RETURN_IF_ERROR(take_peer_rows(asked.body, job));
  const Room& room = rooms_[0];
  const auto row_bytes = static_cast<std::size_t>(limits_.hidden) * sizeof(float);
  const TimeNs now = system_clock().now();
  const TimeNs deadline = peers_limit_ > kNoDeadline - now ? kNoDeadline : now + peers_limit_;
  RETURN_IF_ERROR(begin_receive(*peers_, room.x.data(), static_cast<std::size_t>(job.rows.rows) * row_bytes));
  RETURN_IF_ERROR(finish_group(*peers_, deadline));
  const auto outputs = static_cast<std::int64_t>(job.rows.x_rows.size());
  make_groups({&job, 1});
  run_groups(ops_, stream_, config_.activation, {floats_of(room.x), job.rows.rows, limits_.hidden, limits_.hidden},
             {floats_of(room.y), outputs, limits_.hidden, limits_.hidden}, floats_of(inner_), groups_);
  peers_->after(stream_);
  RETURN_IF_ERROR(begin_send(*peers_, room.y.data(), static_cast<std::size_t>(outputs) * row_bytes));
  std::byte tail[kMaxAnswerTailBytes];
  const std::size_t bytes = write_tail({}, tail);
  RETURN_IF_ERROR(line.send(MessageKind::kPeerOutputs, asked.epoch, {tail, bytes}, deadline));
  RETURN_IF_ERROR(finish_group(*peers_, deadline));
  return device_works();
}

}  // namespace foregate
