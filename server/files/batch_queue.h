// Batches of the API, one after the other, in the order they came. Each is a file of FOLDER/batches; a batch that a
// stop of the server broke off goes on with the next start, and its answers are the same bytes. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/base/metrics.h"
#include "server/batch/batch_runner.h"
#include "server/files/batch_files.h"
#include "server/files/batch_record.h"
#include "server/files/file_store.h"
#include "server/generate/frontend.h"
#include "server/http/http_server.h"
#include "server/net/io.h"

namespace foregate {

struct BatchQueueOptions {
  InputLimits input;
  std::size_t in_flight = 8;  // requests under way
  std::size_t open = 64;      // batches that have not ended
};

class BatchQueue {
 public:
  // The number of an owner's key; 0 when there is none.
  using ClientOf = std::function<std::uint64_t(const std::string& owner)>;
  // What is given outlives it. `callbacks` are those of the server itself: batches ask as clients do, without a socket.
  BatchQueue(IoLoop& loop, Frontend& frontend, HttpCallbacks callbacks, FileStore& store, ClientOf client_of,
             const BatchQueueOptions& options, Metrics& metrics);
  ~BatchQueue();
  // Reads what is on the disk and begins to look for work. kInvalidArgument names --files-dir.
  Status open();

  using Created = std::function<void(Result<std::string>)>;  // the batch as the API shows it
  void create(const std::string& owner, const nlohmann::ordered_json& body, Created created);
  // kNotFound; kInvalidArgument with the field "status" for one that has ended, or ends now.
  Result<std::string> cancel(const std::string& owner, const std::string& id);
  Result<std::string> show(const std::string& owner, const std::string& id) const;
  std::vector<const BatchRecord*> of(const std::string& owner) const;  // oldest first
  std::string shown(const BatchRecord& record) const;
  bool needs(const std::string& file_id) const;  // whether a batch that has not ended reads it

  void begin_drain();  // asks no more; what runs goes on with the next start

 private:
  struct Run;

  std::string record_path(const std::string& id) const { return store_.folder() + "/batches/" + id + ".json"; }
  std::string answers_path(const std::string& id) const { return store_.folder() + "/batches/" + id + ".answers"; }
  BatchRecord* owned(const std::string& owner, const std::string& id);
  void look();
  void look_later();
  void check(const std::string& id);
  void checked(const std::string& id, const CheckedInput& input);
  void begin_run(const std::string& id);
  void run(const std::string& id, BatchOutput output);
  void run_ended(const Status& status);
  void finish(const std::string& id, const char* status);
  void finished(const std::string& id, const char* status, const Result<PartedOutput>& parted);
  void end(BatchRecord record, const char* status);
  void ended();
  void fail(const std::string& id, const Status& status);
  void save(const std::string& id);
  void save_next();
  void work(std::function<Status()> task, std::function<void(const Status&)> done);

  IoLoop& loop_;
  Frontend& frontend_;
  HttpCallbacks callbacks_;
  FileStore& store_;
  ClientOf client_of_;
  const BatchQueueOptions options_;
  Metrics& metrics_;
  Gauge& open_batches_;
  std::unique_ptr<Timer> timer_;
  std::map<std::string, BatchRecord> records_;
  std::vector<std::string> order_;     // oldest first
  std::string busy_;                   // id of the batch that is worked at; empty: none
  std::unique_ptr<Run> run_;           // while lines are asked
  std::optional<BatchRecord> ending_;  // that of busy_, while its end is being written
  std::set<std::string> unsaved_;
  bool saving_ = false;
  bool draining_ = false;
  std::shared_ptr<bool> alive_;
};

}  // namespace foregate
