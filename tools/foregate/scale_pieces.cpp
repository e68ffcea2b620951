#include "tools/foregate/scale_pieces.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "engine/io/file.h"

namespace foregate {
namespace {

constexpr int kTrips = 150;
constexpr std::int32_t kManyRows = 16;  // of a message that measures what bytes take

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double now_seconds() {
  return static_cast<double>(system_clock().now()) * 1e-9;
}

using Lines = std::pair<std::unique_ptr<RankLine>, std::unique_ptr<RankLine>>;

Result<Lines> lines() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return unavailable("no socket pair");
  return Lines{socket_line(fds[0]), socket_line(fds[1])};
}

struct Trip {
  double whole = 0.0, send = 0.0;  // seconds, median
};

// Messages to the other end, which is served by a thread, and the answers: rows are written and outputs put away as
// rank 0 does it.
Result<Trip> trips(RankLine& near, const std::vector<ExpertRows>& questions, std::int64_t hidden) {
  std::vector<double> whole, send;
  std::vector<std::byte> body, outputs;
  const std::vector<float> some(static_cast<std::size_t>(questions.front().rows * hidden), 0.01f);
  for (std::uint64_t i = 1; i <= kTrips; ++i) {
    const double start = now_seconds();
    const auto values = write_rows(questions[i % questions.size()], hidden, body);
    std::memcpy(values.data(), some.data(), values.size());
    RETURN_IF_ERROR(near.send(MessageKind::kRows, i, body, kNoDeadline));
    const double sent = now_seconds();
    ASSIGN_OR_RETURN(const Message answer, near.receive({.most_bytes = std::uint64_t{1} << 30}, kNoDeadline));
    outputs.resize(std::max(outputs.size(), answer.body.size()));
    std::memcpy(outputs.data(), answer.body.data(), answer.body.size());
    whole.push_back(now_seconds() - start);
    send.push_back(sent - start);
  }
  return Trip{median(std::move(whole)), median(std::move(send))};
}

// Of so many rows, which come back as they are.
Result<Trip> echo(std::int32_t rows, std::int64_t hidden) {
  ASSIGN_OR_RETURN(const Lines ends, lines());
  std::thread other([&far = *ends.second] {
    while (true) {
      const auto asked = far.receive({.most_bytes = std::uint64_t{1} << 30}, kNoDeadline);
      if (!asked.ok() || !far.send(MessageKind::kOutputs, asked->epoch, asked->body, kNoDeadline).ok()) break;
    }
    far.close();
  });
  auto trip = trips(*ends.first, {{.layer = LayerId{0}, .rows = rows}}, hidden);
  ends.first->close();
  other.join();
  return trip;
}

}  // namespace

Result<std::unique_ptr<ScalePieces>> ScalePieces::open(const std::string& path, std::int32_t max_rows) {
  std::unique_ptr<ScalePieces> made(new ScalePieces());
  std::string error;
  made->backend_ = make_backend({.threads = 1}, &error);
  if (made->backend_.device == nullptr) return unavailable(error);
  made->stream_ = made->backend_.device->create_stream();
  ASSIGN_OR_RETURN(OpenModel opened, open_model(local_files(), path));
  const ModelConfig& config = made->model_.emplace(std::move(opened)).config;
  std::vector<std::int32_t> experts;
  for (const LayerConfig& each : config.layers) {
    if (each.sparse) made->layers_.push_back(LayerId{static_cast<std::int32_t>(experts.size())});
    experts.push_back(each.sparse ? config.router.experts : 0);
  }
  if (made->layers_.empty()) return invalid_argument("the model has no experts to share", "model");
  made->star_ = {.layers = static_cast<std::int32_t>(made->layers_.size()),
                 .experts = config.router.experts,
                 .top_k = config.router.top_k,
                 .cores = static_cast<std::int32_t>(std::max(1u, std::thread::hardware_concurrency())),
                 .row_bytes = static_cast<double>(config.hidden_size) * sizeof(float),
                 .link = {}};
  ASSIGN_OR_RETURN(const auto plan, PlacementPlan::linear(1, experts));
  LoadOptions load;
  load.max_batched_tokens = max_rows;
  ASSIGN_OR_RETURN(made->rank_, RankExperts::load(*made->model_, plan, RankId{0}, *made->backend_.device,
                                                  made->backend_.ops, *made->stream_, load));
  return made;
}

ExpertRows ScalePieces::question(LayerId layer, std::int32_t first, std::int32_t experts, std::int32_t rows) const {
  ExpertRows asked{.layer = layer, .rows = std::max(rows, (experts * rows + star_.top_k - 1) / star_.top_k)};
  for (std::int32_t e = 0; e < experts; ++e) {
    asked.experts.push_back((first + e) % star_.experts);
    asked.group_rows.push_back(rows);
    asked.drafted.push_back(0);
    for (std::int32_t r = 0; r < rows; ++r) {
      asked.x_rows.push_back((e * rows + r) % static_cast<std::int32_t>(asked.rows));
    }
  }
  std::sort(asked.experts.begin(), asked.experts.end());
  return asked;
}

// Seconds in which a rank answers rows of so many experts, `rows` of each. Layer after layer, and of those now these
// experts, now those: they are as far from the caches as in a step.
Result<double> ScalePieces::answer(std::int32_t experts, std::int32_t rows) {
  std::vector<ExpertRows> questions;
  for (std::int32_t turn = 0; turn < 4; ++turn) {
    for (const LayerId layer : layers_) questions.push_back(question(layer, 5 * turn, experts, rows));
  }
  ASSIGN_OR_RETURN(const Lines ends, lines());
  std::thread serving([this, &far = *ends.second] {
    (void)rank_->serve(far);
    far.close();
  });
  auto trip = trips(*ends.first, questions, model_->config.hidden_size);
  ends.first->close();
  serving.join();
  if (!trip.ok()) return trip.status();
  return trip->whole;
}

// The slopes over experts and over rows, so that what a message takes falls out; that is what is left of the shortest
// answer: the message, and what either rank does beside the experts.
Result<StarRanks> ScalePieces::measure() {
  StarRanks star = star_;
  const std::int32_t many = std::min(star.experts, 8);
  const std::int64_t hidden = model_->config.hidden_size;
  ASSIGN_OR_RETURN(const Trip small, echo(1, hidden));
  ASSIGN_OR_RETURN(const Trip large, echo(kManyRows, hidden));
  ASSIGN_OR_RETURN(const double one, answer(1, 1));
  ASSIGN_OR_RETURN(const double several, answer(many, 1));
  ASSIGN_OR_RETURN(const double wide, answer(many, 4));
  star.link.bytes_per_second = 2.0 * (kManyRows - 1) * star.row_bytes / std::max(large.whole - small.whole, 1e-9);
  const auto copies = [&star](double rows) { return rows * star.row_bytes / star.link.bytes_per_second; };
  const double sent = many / static_cast<double>(star.top_k);  // rows of `several`; `wide` has four times as many
  star.expert_seconds = std::max(several - one - copies(many - 1 + sent - 1), 0.0) / (many - 1);
  star.expert_row_seconds = std::max(wide - several - copies(3 * many + 3 * sent), 0.0) / (3.0 * many);
  star.send_seconds = small.send;
  star.link.alpha = std::max(one - star.expert_seconds - copies(2), small.whole - copies(2)) / 2;
  return star;
}

}  // namespace foregate
