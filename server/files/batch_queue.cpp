#include "server/files/batch_queue.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "engine/api/client_share.h"
#include "engine/base/log.h"
#include "server/openai/members.h"

namespace foregate {
namespace {

namespace fs = std::filesystem;

constexpr double kLookSeconds = 0.5;

HttpCallbacks asked_by(HttpCallbacks callbacks, std::uint64_t client) {
  callbacks.gate = [gate = callbacks.gate, client](HttpRequest& head) {
    head.client = client;
    return gate(head);
  };
  return callbacks;
}

}  // namespace

// The batch whose lines are asked now.
struct BatchQueue::Run {
  Run(const std::string& path, BatchOutput opened) : source({path}), output(std::move(opened)) {}
  LineSource source;
  BatchOutput output;
  std::unique_ptr<BatchRunner> runner;
  bool expired = false;
};

BatchQueue::BatchQueue(IoLoop& loop, Frontend& frontend, HttpCallbacks callbacks, FileStore& store, ClientOf client_of,
                       const BatchQueueOptions& options, Metrics& metrics)
    : loop_(loop),
      frontend_(frontend),
      callbacks_(std::move(callbacks)),
      store_(store),
      client_of_(std::move(client_of)),
      options_(options),
      metrics_(metrics),
      open_batches_(metrics.gauge("foregate_batches_open", "Batches of /v1/batches that have not ended")),
      timer_(loop.make_timer()),
      alive_(std::make_shared<bool>(true)) {}

BatchQueue::~BatchQueue() {
  *alive_ = false;
}

Status BatchQueue::open() {
  std::vector<std::pair<std::int64_t, std::string>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(store_.folder() + "/batches", error)) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream in(entry.path());
    std::ostringstream text;
    text << in.rdbuf();
    auto record = BatchRecord::parse(text.str());
    if (!record.ok() || entry.path().stem() != record->id()) {
      log_warn("--files-dir: " + entry.path().string() + " is no batch; it is left alone");
      continue;
    }
    found.emplace_back(record->created(), record->id());
    records_.emplace(record->id(), std::move(record).value());
  }
  if (error) return invalid_argument("--files-dir: " + store_.folder() + ": " + error.message(), "--files-dir");
  std::sort(found.begin(), found.end());
  for (auto& [created, id] : found) order_.push_back(std::move(id));
  look();
  return {};
}

// Runs `task` on a worker; a full queue of workers is asked again.
void BatchQueue::work(std::function<Status()> task, std::function<void(const Status&)> done) {
  frontend_.run([task = std::move(task)](const ApiContext&) { return task(); },
                [alive = alive_, done = std::move(done)](const Status& status) {
                  if (*alive) done(status);
                });
}

void BatchQueue::look_later() {
  timer_->arm(kLookSeconds, [this] { look(); });
}

void BatchQueue::look() {
  look_later();
  save_next();
  std::size_t open = 0;
  for (const auto& [id, record] : records_) open += !record.ended();
  open_batches_.set(static_cast<double>(open));
  if (run_ && !run_->expired && loop_.clock().wall_seconds() >= records_[busy_].expires()) {
    run_->expired = true;
    run_->runner->stop();
  }
  if (draining_ || !busy_.empty() || !frontend_.accepts()) return;
  for (const std::string& id : order_) {
    if (records_[id].ended()) continue;
    busy_ = id;
    return records_[id].status() == "validating" ? check(id) : begin_run(id);
  }
}

void BatchQueue::check(const std::string& id) {
  const BatchRecord& record = records_[id];
  if (store_.find(record.input_file()) == nullptr) return fail(id, not_found("the input file is gone"));
  auto found = std::make_shared<CheckedInput>();
  work(
      [found, path = store_.path(record.input_file()), endpoint = record.endpoint(),
       limits = options_.input]() -> Status {
        *found = check_batch_input(path, endpoint, limits);
        return {};
      },
      [this, id, found](const Status& status) {
        if (!status.ok()) return busy_.clear();  // the next look tries again
        checked(id, *found);
      });
}

void BatchQueue::checked(const std::string& id, const CheckedInput& input) {
  BatchRecord& record = records_[id];
  if (record.status() == "cancelling") return end(record, "cancelled");
  if (!input.faults.empty()) {
    BatchRecord failed = record;
    failed.set_faults(input.faults);
    return end(std::move(failed), "failed");
  }
  record.set_counts(input.lines, 0, 0);
  record.set_status("in_progress", loop_.clock().wall_seconds());
  save(id);
  begin_run(id);
}

void BatchQueue::begin_run(const std::string& id) {
  if (store_.find(records_[id].input_file()) == nullptr) return fail(id, not_found("the input file is gone"));
  auto output = std::make_shared<BatchOutput>();
  work(
      [output, path = answers_path(id)]() -> Status {
        ASSIGN_OR_RETURN(*output, BatchOutput::open(path));
        return {};
      },
      [this, id, output](const Status& status) {
        if (draining_ || status.code() == Code::kResourceExhausted) return busy_.clear();
        if (!status.ok()) return fail(id, status);
        run(id, std::move(*output));
      });
}

void BatchQueue::run(const std::string& id, BatchOutput output) {
  const BatchRecord& record = records_[id];
  run_ = std::make_unique<Run>(store_.path(record.input_file()), std::move(output));
  BatchOptions options;
  options.in_flight = options_.in_flight;
  options.window = std::max<std::size_t>(256, 16 * options_.in_flight);
  options.created = record.created();
  const auto ended = [this, alive = alive_](const Status& status) {
    loop_.post([this, alive, status] {
      if (*alive) run_ended(status);
    });
  };
  run_->runner = std::make_unique<BatchRunner>(loop_, asked_by(callbacks_, client_of_(record.owner())), run_->source,
                                               run_->output, options, ended);
  run_->expired = loop_.clock().wall_seconds() >= record.expires();
  if (record.status() == "cancelling" || run_->expired) run_->runner->stop();
  run_->runner->start();
}

void BatchQueue::run_ended(const Status& status) {
  const std::string id = busy_;
  const bool expired = run_->expired;
  run_ = nullptr;
  const bool cancelled = records_[id].status() == "cancelling";
  if (draining_ && !cancelled && !expired && status.ok()) return busy_.clear();
  if (!status.ok()) return fail(id, status);
  finish(id, cancelled ? "cancelled" : expired ? "expired" : "completed");
}

// The answers become files. Done again from the beginning when a stop comes between.
void BatchQueue::finish(const std::string& id, const char* status) {
  BatchRecord& record = records_[id];
  if (record.status() != "cancelling") record.set_status("finalizing", loop_.clock().wall_seconds());
  save(id);
  auto parted = std::make_shared<Result<PartedOutput>>(PartedOutput{});
  work(
      [parted, answers = answers_path(id), output = store_.path(record.output_file()),
       errors = store_.path(record.error_file())]() -> Status {
        *parted = part_answers(answers, output, errors);
        return {};
      },
      [this, id, status, parted](const Status& taken) {
        if (!taken.ok()) return busy_.clear();
        finished(id, status, *parted);
      });
}

void BatchQueue::finished(const std::string& id, const char* status, const Result<PartedOutput>& parted) {
  if (!parted.ok()) return fail(id, parted.status());
  BatchRecord record = records_[id];
  const auto keep = [&](const std::string& file_id, const char* name, std::uint64_t bytes) {
    std::error_code ignored;
    if (bytes == 0) return fs::remove(store_.path(file_id), ignored), Status();
    const StoredFile file{file_id, record.owner(), id + name, "batch_output", bytes, loop_.clock().wall_seconds()};
    RETURN_IF_ERROR(FileStore::write_whole(store_.path(file_id) + ".json", FileStore::describe(file, true)));
    store_.add(file);
    return Status();
  };
  Status kept = keep(record.output_file(), "_output.jsonl", parted->output_bytes);
  if (kept.ok()) kept = keep(record.error_file(), "_errors.jsonl", parted->error_bytes);
  if (!kept.ok()) return fail(id, kept);
  record.set_counts(std::max(record.total(), parted->succeeded + parted->failed), parted->succeeded, parted->failed);
  record.set_files(parted->output_bytes > 0, parted->error_bytes > 0);
  end(std::move(record), status);
}

// The end is shown once it is on the disk: what a client has seen ended is not asked again after a stop.
void BatchQueue::end(BatchRecord record, const char* status) {
  record.set_status(status, loop_.clock().wall_seconds());
  ending_ = std::move(record);
  save(ending_->id());
}

void BatchQueue::ended() {
  const std::string id = ending_->id(), status = ending_->status();
  records_[id] = std::move(*ending_);
  ending_.reset();
  metrics_.counter("foregate_batches_ended", "Batches of /v1/batches that ended", {{"status", status}}).add();
  std::error_code ignored;
  if (status != "failed") fs::remove(answers_path(id), ignored);
  busy_.clear();
  look();
}

void BatchQueue::fail(const std::string& id, const Status& status) {
  log_warn("batch " + id + " failed: " + status.message());
  BatchRecord record = records_[id];
  record.set_faults({{"server_error", status.message(), "", 0}});
  end(std::move(record), "failed");
}

void BatchQueue::save(const std::string& id) {
  unsaved_.insert(id);
  save_next();
}

// One at a time, so that the last word is the one that stays.
void BatchQueue::save_next() {
  if (saving_ || unsaved_.empty() || !frontend_.backend()) return;
  const std::string id = *unsaved_.begin();
  unsaved_.erase(unsaved_.begin());
  saving_ = true;
  const bool last = ending_ && ending_->id() == id;
  work([path = record_path(id),
        text = (last ? *ending_ : records_[id]).dump(true)] { return FileStore::write_whole(path, text); },
       [this, id, last](const Status& status) {
         saving_ = false;
         if (status.ok() && last) ended();
         if (status.ok()) return save_next();
         log_warn("batch " + id + ": " + status.message());
         unsaved_.insert(id);  // the next look tries again
       });
}

void BatchQueue::create(const std::string& owner, const nlohmann::ordered_json& body, Created created) {
  if (const Status bad = check_batch_body(body); !bad.ok()) return created(bad);
  const StoredFile* file = store_.find(text_member(body, "input_file_id"));
  if (file == nullptr || file->owner != owner || file->purpose != "batch") {
    return created(Status(Code::kInvalidArgument, "input_file_id is no file of purpose batch", "input_file_id"));
  }
  const auto open =
      std::count_if(records_.begin(), records_.end(), [](const auto& one) { return !one.second.ended(); });
  if (static_cast<std::size_t>(open) >= options_.open) {
    return created(Status(Code::kResourceExhausted, "too many batches have not ended yet", kClientRateField));
  }
  auto record = std::make_shared<BatchRecord>(FileStore::new_id("batch_"), owner, body, loop_.clock().wall_seconds());
  work([path = record_path(record->id()), record] { return FileStore::write_whole(path, record->dump(true)); },
       [this, record, created](const Status& status) {
         if (!status.ok()) return created(status);
         const std::string id = record->id();
         records_.emplace(id, *record);
         order_.push_back(id);
         created(record->dump(false));
         look();
       });
}

BatchRecord* BatchQueue::owned(const std::string& owner, const std::string& id) {
  const auto found = records_.find(id);
  return found == records_.end() || found->second.owner() != owner ? nullptr : &found->second;
}

Result<std::string> BatchQueue::cancel(const std::string& owner, const std::string& id) {
  BatchRecord* record = owned(owner, id);
  if (record == nullptr) return not_found("there is no such batch");
  const std::string now = record->status();
  if (record->ended() || now == "finalizing" || (ending_ && ending_->id() == id)) {
    return invalid_argument("the batch is " + now + " and cannot be cancelled", "status");
  }
  if (now != "cancelling") record->set_status("cancelling", loop_.clock().wall_seconds());
  if (busy_ != id && now == "validating") {  // what has answers gets its turn, and ends with them
    record->set_status("cancelled", loop_.clock().wall_seconds());
    metrics_.counter("foregate_batches_ended", "Batches of /v1/batches that ended", {{"status", "cancelled"}}).add();
  } else if (busy_ == id && run_) {
    run_->runner->stop();
  }
  save(id);
  return shown(*record);
}

Result<std::string> BatchQueue::show(const std::string& owner, const std::string& id) const {
  const auto found = records_.find(id);
  if (found == records_.end() || found->second.owner() != owner) return not_found("there is no such batch");
  return shown(found->second);
}

std::vector<const BatchRecord*> BatchQueue::of(const std::string& owner) const {
  std::vector<const BatchRecord*> found;
  for (const std::string& id : order_) {
    const BatchRecord& record = records_.at(id);
    if (record.owner() == owner) found.push_back(&record);
  }
  return found;
}

// With the counts of now, while it runs.
std::string BatchQueue::shown(const BatchRecord& record) const {
  if (!run_ || record.id() != busy_) return record.dump(false);
  BatchRecord now = record;
  const BatchCounts& counts = run_->runner->counts();
  const std::uint64_t done = counts.resumed + counts.answered;
  now.set_counts(record.total(), done - std::min(done, counts.faults), counts.faults);
  return now.dump(false);
}

bool BatchQueue::needs(const std::string& file_id) const {
  return std::any_of(records_.begin(), records_.end(),
                     [&](const auto& one) { return !one.second.ended() && one.second.input_file() == file_id; });
}

void BatchQueue::begin_drain() {
  draining_ = true;
  if (run_) run_->runner->stop();
}

}  // namespace foregate
