// Writes a packed model directory (packed_format.h) unit by unit, so that a writer that is killed at any point leaves
// either an unfinished directory that the next one goes on with, or a whole one.
//
// pack.journal holds "foregate-pack 1 HEX\n" (HEX: PackedIndex::source) and, for each unit already written, its
// checksum in sixteen digits and a newline, in order. A new writer reads those units back from the disk and goes on
// behind the last one that has its checksum. The index is written under another name, synced and renamed when all else
// is on the disk; then the journal goes.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/io/output.h"
#include "engine/weights/packed_reader.h"

namespace foregate {

// A small file of a model: configuration, tokenizer, template.
struct SmallFile {
  std::string name;
  std::string text;
};

class PackedWriter {
 public:
  // `plan` is laid out, its checksums are not known yet. kInvalidArgument when `out` holds anything but an unfinished
  // or finished pack of the same source; kResourceExhausted when the disk has too little room. `progress` is of reading
  // back.
  static Result<PackedWriter> open(OutputDirectory& out, const FileSystem& files, PackedIndex plan,
                                   const ReadProgress& progress);

  bool finished() const { return finished_; }  // the directory is whole: nothing is left to write
  std::size_t next_unit() const { return next_; }
  const PackedIndex& index() const { return index_; }

  // Bytes of the next unit at `offset` from its start, in ascending order; what is left out becomes zero.
  // kResourceExhausted, of these three, names the file, the bytes still to be written and those that are free.
  Status write(std::uint64_t offset, std::span<const std::byte> bytes);
  Status end_unit();
  // After the last unit.
  Status finish(std::span<const SmallFile> small_files);

 private:
  PackedWriter(OutputDirectory& out, PackedIndex plan) : out_(&out), index_(std::move(plan)) {}
  Status look(const FileSystem& files, const ReadProgress& progress);
  Status resume(const FileSystem& files, const std::string& journal, const ReadProgress& progress);
  Status check_room() const;
  std::uint64_t bytes_left() const;
  Status with_room(Status status) const;
  Status write_unit(std::uint64_t offset, std::span<const std::byte> bytes);
  Status close_unit();
  Status write_rest(std::span<const SmallFile> small_files);
  Status append(std::span<const std::byte> bytes);
  Status pad_to(std::uint64_t offset);
  Status flush_piece();
  Status close_file(std::uint32_t file);
  Status write_file(const std::string& name, std::string_view text);
  const PackedUnit& unit() const { return index_.units[next_]; }

  OutputDirectory* out_;
  PackedIndex index_;
  bool finished_ = false;
  std::size_t next_ = 0;
  std::unique_ptr<OutputFile> journal_;
  std::unique_ptr<OutputFile> data_;
  std::uint32_t data_number_ = 0;      // of data_
  std::uint64_t position_ = 0;         // bytes of the next unit so far
  std::vector<std::byte> piece_;       // not yet written
  std::vector<std::uint64_t> hashes_;  // of the pieces of the next unit so far
};

}  // namespace foregate
