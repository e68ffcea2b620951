// /v1/files and /v1/batches, as OpenAI has them (https://platform.openai.com/docs/api-reference/batch), over one local
// folder. What a key has made is seen by that key only. Loop thread only.
#pragma once

#include <memory>
#include <string>

#include "engine/base/metrics.h"
#include "server/files/batch_queue.h"
#include "server/files/file_store.h"
#include "server/generate/frontend.h"
#include "server/http/service.h"

namespace foregate {

struct FileOptions {
  std::string folder;
  StoreLimits store;
  BatchQueueOptions batches;
  std::size_t piece_bytes = 65536;  // of a file that is sent, read at a time
};

class FileService final : public FileHandler {
 public:
  ~FileService() override { *alive_ = false; }
  // kInvalidArgument names --files-dir. What is given outlives it.
  static Result<std::unique_ptr<FileService>> open(IoLoop& loop, Frontend& frontend, HttpCallbacks callbacks,
                                                   BatchQueue::ClientOf client_of, const FileOptions& options,
                                                   Metrics& metrics);
  void handle(std::shared_ptr<Exchange> exchange, const RouteMatch& match, const Owner& owner) override;
  void begin_drain() { batches_->begin_drain(); }

 private:
  FileService(IoLoop& loop, Frontend& frontend, const FileOptions& options)
      : loop_(loop), frontend_(frontend), options_(options) {}
  void upload(const std::shared_ptr<Exchange>& exchange, const std::string& owner);
  void list_files(const std::shared_ptr<Exchange>& exchange, const std::string& owner) const;
  void list_batches(const std::shared_ptr<Exchange>& exchange, const std::string& owner) const;
  void create_batch(const std::shared_ptr<Exchange>& exchange, const std::string& owner);
  void remove(const std::shared_ptr<Exchange>& exchange, const StoredFile& file);
  void send_content(const std::shared_ptr<Exchange>& exchange, const StoredFile& file) const;

  IoLoop& loop_;
  Frontend& frontend_;
  const FileOptions options_;
  FileStore store_;
  std::unique_ptr<BatchQueue> batches_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace foregate
