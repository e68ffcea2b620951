// All tensors of a model by name: of model.safetensors, of the shards that model.safetensors.index.json
// lists, of a packed model (packed_format.h), or of a GGUF model's files. Every count, offset and length is checked
// against the real files at open; data is read on demand by explicit reads. Immutable after open, safe to share; a copy
// shares all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/io/gguf_files.h"
#include "engine/weights/packed_model.h"
#include "engine/weights/safetensors_header.h"

namespace foregate {

class TensorIndex {
 public:
  // kNotFound when the directory has no weights, kDataLoss (file and tensor named) when a file is
  // not what it says, or when the directory holds an unfinished pack.
  static Result<TensorIndex> open(const FileSystem& files, const std::string& dir);
  static Result<TensorIndex> open_packed(const FileSystem& files, const std::string& dir);
  static Result<TensorIndex> open_file(const FileSystem& files, const std::string& path);
  // Takes over the files and tensors of an opened GGUF model.
  static Result<TensorIndex> from_gguf(GgufModel& model);

  const TensorEntry* find(std::string_view name) const;                  // null when absent
  const std::vector<TensorEntry>& tensors() const { return *entries_; }  // by name
  std::size_t shards() const { return packed_ ? packed_->index().files.size() : files_.size(); }
  const File& shard(std::size_t number) const;
  const std::string& path_of(const TensorEntry& entry) const { return shard(entry.shard).path(); }
  // The packed model that the tensors are of, or null. Its tensors' bytes are in the layout of kernels/api/quant.h.
  const PackedModel* packed() const { return packed_.get(); }
  std::shared_ptr<const PackedModel> share_packed() const { return packed_; }

  // Fills `out` with the tensor's bytes from `begin`; the range must lie inside the tensor.
  Status read(const TensorEntry& entry, std::uint64_t begin, std::span<std::byte> out) const;
  // Reads `size` bytes from `begin` by whole pages of the file, past the page cache where the file allows it, into
  // `buffer`: page_buffer_bytes(size) bytes at a multiple of kDirectPage. Gives the place of the first one in it.
  Result<std::byte*> read_pages(const TensorEntry& entry, std::uint64_t begin, std::size_t size,
                                std::byte* buffer) const;
  static constexpr std::size_t page_buffer_bytes(std::size_t size) { return (size / kDirectPage + 3) * kDirectPage; }

 private:
  Status add_shard(const FileSystem& files, const std::string& path);
  Status add_listed_shards(const FileSystem& files, const std::string& dir, const std::string& index_path);
  Status sort_and_check_names();

  // Shared with copies, so that a copy keeps files open and entries where they are.
  std::vector<std::shared_ptr<const File>> files_;
  std::shared_ptr<const PackedModel> packed_;
  std::shared_ptr<std::vector<TensorEntry>> entries_ = std::make_shared<std::vector<TensorEntry>>();
};

}  // namespace foregate
