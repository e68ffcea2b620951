// A packed model directory (packed_format.h), opened: the index, and its data files, all checked against their real
// size and headers. Immutable, safe to share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/io/file.h"
#include "engine/weights/packed_format.h"

namespace foregate {

// Whether `dir` holds an index of packed weights.
bool is_packed(const FileSystem& files, const std::string& dir);
// kDataLoss when `dir` holds a pack that was not finished.
Status check_no_unfinished_pack(const FileSystem& files, const std::string& dir);

class PackedModel {
 public:
  // kDataLoss, file and part named, when a file is not what the index says; kUnimplemented for another version or
  // layout.
  static Result<PackedModel> open(const FileSystem& files, const std::string& dir);

  const PackedIndex& index() const { return index_; }
  const File& file(std::uint32_t number) const { return *files_[number]; }  // reads past the page cache
  const File& file(const PackedUnit& unit) const { return *files_[unit.file]; }

 private:
  PackedIndex index_;
  std::vector<std::unique_ptr<File>> files_;
};

}  // namespace foregate
