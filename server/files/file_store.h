// Files that clients keep on the server, in one local folder: what a file holds in FOLDER/files/ID, what it is in
// FOLDER/files/ID.json, written last and at once, so that a file is there whole or not at all after a crash. The table
// belongs to the loop thread; the static functions touch the disk only, from any thread. One process has a folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace foregate {

struct StoreLimits {
  std::uint64_t file_bytes = 64u << 20;
  std::uint64_t total_bytes = 1u << 30;  // uploads beyond are refused; outputs of batches count too
  std::size_t files = 1000;
};

struct StoredFile {
  std::string id;
  std::string owner;  // as Auth::owner()
  std::string filename;
  std::string purpose;  // batch | batch_output
  std::uint64_t bytes = 0;
  std::int64_t created = 0;
};

class FileStore {
 public:
  // Makes the folder, takes it for this process and reads what is there; what has no description is removed.
  // kInvalidArgument names --files-dir.
  static Result<FileStore> open(const std::string& folder, const StoreLimits& limits);
  FileStore() = default;
  FileStore(FileStore&& other) noexcept;
  FileStore& operator=(FileStore&& other) noexcept;
  ~FileStore();

  // Whether one more file of so many bytes may come; release() when it did not after all.
  Status reserve(std::uint64_t bytes);
  void release(std::uint64_t bytes);
  void add(const StoredFile& file);  // whose bytes are on the disk; of a reserved one release() comes before
  Status remove(const std::string& id);
  const StoredFile* find(const std::string& id) const;
  const std::map<std::string, StoredFile>& all() const { return files_; }

  std::string path(const std::string& id) const { return folder_ + "/files/" + id; }
  const std::string& folder() const { return folder_; }

  static std::string new_id(const char* prefix);
  // Written under another name, synced, and moved to its place.
  static Status write_whole(const std::string& path, std::string_view text);
  // What a file is, for files/ID.json and for clients.
  static std::string describe(const StoredFile& file, bool with_owner);
  static Result<StoredFile> read_description(std::string_view text);

 private:
  Status read_files();

  std::string folder_;
  StoreLimits limits_;
  int lock_ = -1;
  std::map<std::string, StoredFile> files_;  // by id
  std::uint64_t bytes_ = 0;
  std::uint64_t reserved_bytes_ = 0;
  std::size_t reserved_ = 0;
};

}  // namespace foregate
