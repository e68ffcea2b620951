#include "engine/weights/packed_writer.h"

#include <algorithm>

#include "engine/base/checksum.h"
#include "engine/weights/packed_index.h"

namespace foregate {
namespace {

constexpr std::uint64_t kMaxJournalBytes = std::uint64_t{64} << 20;
constexpr std::size_t kJournalLine = 17;

std::string journal_head(std::uint64_t source) {
  return "foregate-pack 1 " + checksum_text(source) + "\n";
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

bool holds(const std::vector<std::string>& names, const char* name) {
  return std::binary_search(names.begin(), names.end(), name);
}

Status foreign(const std::string& dir, const std::string& what) {
  return invalid_argument(dir + " " + what + "; remove it or choose another directory", "OUT");
}

// Whether all that lies in a directory is a journal or a data file of this pack.
bool only_own(const std::vector<std::string>& names, const PackedIndex& index) {
  return std::all_of(names.begin(), names.end(), [&index](const std::string& name) {
    const auto same = [&name](const PackedDataFile& file) { return file.name == name; };
    return name == kPackJournalName || std::any_of(index.files.begin(), index.files.end(), same);
  });
}

// Whole lines of checksums after the head; a line cut short or garbled ends the list.
std::vector<std::uint64_t> journal_checksums(std::string_view lines) {
  std::vector<std::uint64_t> checksums;
  for (; lines.size() >= kJournalLine && lines[kJournalLine - 1] == '\n'; lines.remove_prefix(kJournalLine)) {
    const auto value = parse_checksum(lines.substr(0, kJournalLine - 1));
    if (!value) break;
    checksums.push_back(*value);
  }
  return checksums;
}

}  // namespace

Result<PackedWriter> PackedWriter::open(OutputDirectory& out, const FileSystem& files, PackedIndex plan,
                                        const ReadProgress& progress) {
  PackedWriter writer(out, std::move(plan));
  RETURN_IF_ERROR(writer.with_room(writer.look(files, progress)));
  if (!writer.finished_) RETURN_IF_ERROR(writer.check_room());
  return writer;
}

// What the directory holds decides: nothing, an unfinished pack, a finished one, or something else.
Status PackedWriter::look(const FileSystem& files, const ReadProgress& progress) {
  ASSIGN_OR_RETURN(const auto names, out_->names());
  if (holds(names, kPackedIndexName)) {
    ASSIGN_OR_RETURN(const PackedModel model, PackedModel::open(files, out_->path()));
    if (model.index().source != index_.source) {
      return foreign(out_->path(), "holds a pack of another model, of another state of it, or of other options");
    }
    index_ = model.index();
    next_ = index_.units.size();
    finished_ = true;
    if (!holds(names, kPackJournalName)) return {};
    RETURN_IF_ERROR(out_->remove(kPackJournalName));  // killed just before this line
    return out_->sync();
  }
  std::string journal;
  if (holds(names, kPackJournalName)) {
    ASSIGN_OR_RETURN(journal, read_text(files, out_->path() + "/" + kPackJournalName, kMaxJournalBytes));
  } else if (!names.empty()) {
    return foreign(out_->path(), "is not empty and holds no pack");
  }
  const std::string head = journal_head(index_.source);
  const bool torn = journal.size() < head.size();
  if (torn ? !only_own(names, index_) : !journal.starts_with(head)) {
    return foreign(out_->path(),
                   "holds an unfinished pack of another model, of another state of it, or of other options");
  }
  ASSIGN_OR_RETURN(journal_, out_->open(kPackJournalName));
  RETURN_IF_ERROR(torn ? journal_->write(0, bytes_of(head)) : resume(files, journal.substr(head.size()), progress));
  RETURN_IF_ERROR(journal_->resize(head.size() + next_ * kJournalLine));
  return {};
}

// Takes over the units that are on the disk as the journal has them.
Status PackedWriter::resume(const FileSystem& files, const std::string& journal, const ReadProgress& progress) {
  std::vector<std::uint64_t> checksums = journal_checksums(journal);
  checksums.resize(std::min(checksums.size(), index_.units.size()));
  std::vector<std::unique_ptr<File>> data;
  std::vector<UnitRead> reads;
  for (std::size_t i = 0; i < checksums.size(); ++i) {
    PackedUnit& unit = index_.units[i];
    if (unit.file == data.size()) {
      auto file = files.open_direct(out_->path() + "/" + index_.files[unit.file].name);
      if (!file.ok() && file.status().code() == Code::kNotFound) break;
      if (!file.ok()) return file.status();
      data.push_back(std::move(file).value());
    }
    unit.checksum = checksums[i];
    reads.push_back({data.back().get(), &unit, nullptr});
  }
  std::vector<Status> each;
  (void)read_units(reads, {}, progress, &each);
  while (next_ < each.size() && each[next_].ok()) ++next_;
  if (next_ < each.size() && each[next_].code() != Code::kDataLoss) return each[next_];
  for (std::size_t i = 0; i < next_; ++i) {
    const bool last = i + 1 == index_.units.size() || index_.units[i + 1].file != index_.units[i].file;
    if (last) RETURN_IF_ERROR(close_file(index_.units[i].file));
  }
  return {};
}

std::uint64_t PackedWriter::bytes_left() const {
  std::uint64_t bytes = 0;
  for (std::size_t i = next_; i < index_.units.size(); ++i) bytes += index_.units[i].bytes;
  return bytes;
}

Status PackedWriter::check_room() const {
  const std::uint64_t needed = bytes_left();
  ASSIGN_OR_RETURN(const std::uint64_t free, out_->free_bytes());
  if (needed <= free) return {};
  return resource_exhausted(out_->path() + ": " + std::to_string(needed) +
                            " bytes are still to be written, the disk has " + std::to_string(free) + " free");
}

// A disk may become full after it was looked at, by others or by what the file system keeps for itself.
Status PackedWriter::with_room(Status status) const {
  if (status.code() != Code::kResourceExhausted) return status;
  auto free = out_->free_bytes();
  const std::string room = free.ok() ? std::to_string(*free) : "an unknown number";
  return resource_exhausted(status.message() + "; " + std::to_string(bytes_left()) +
                            " bytes of weights are not finished, the disk has " + room +
                            " free; what is written stays, the same command goes on with it");
}

Status PackedWriter::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  return with_room(write_unit(offset, bytes));
}

Status PackedWriter::end_unit() {
  return with_room(close_unit());
}

Status PackedWriter::finish(std::span<const SmallFile> small_files) {
  return with_room(write_rest(small_files));
}

Status PackedWriter::write_unit(std::uint64_t offset, std::span<const std::byte> bytes) {
  CHECK(next_ < index_.units.size() && offset >= position_ && offset + bytes.size() <= unit().bytes);
  RETURN_IF_ERROR(pad_to(offset));
  return append(bytes);
}

Status PackedWriter::pad_to(std::uint64_t offset) {
  static constexpr std::byte kZeros[kPackedPage] = {};
  while (position_ < offset) {
    RETURN_IF_ERROR(append(std::span(kZeros).first(std::min<std::uint64_t>(sizeof kZeros, offset - position_))));
  }
  return {};
}

Status PackedWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t count = std::min<std::size_t>(bytes.size(), kPackedPiece - piece_.size());
    piece_.insert(piece_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    position_ += count;
    bytes = bytes.subspan(count);
    if (piece_.size() == kPackedPiece) RETURN_IF_ERROR(flush_piece());
  }
  return {};
}

Status PackedWriter::flush_piece() {
  if (piece_.empty()) return {};
  if (data_ == nullptr || data_number_ != unit().file) {
    ASSIGN_OR_RETURN(data_, out_->open(index_.files[unit().file].name));
    data_number_ = unit().file;
  }
  hashes_.push_back(checksum(std::span<const std::byte>(piece_)));
  RETURN_IF_ERROR(data_->write(unit().offset + position_ - piece_.size(), piece_));
  piece_.clear();
  return {};
}

Status PackedWriter::close_unit() {
  RETURN_IF_ERROR(pad_to(unit().bytes));
  RETURN_IF_ERROR(flush_piece());
  index_.units[next_].checksum = checksum_of(hashes_);
  hashes_.clear();
  position_ = 0;
  const std::uint64_t at = journal_head(index_.source).size() + next_ * kJournalLine;
  RETURN_IF_ERROR(journal_->write(at, bytes_of(checksum_text(unit().checksum) + "\n")));
  const std::uint32_t file = unit().file;
  ++next_;
  return next_ == index_.units.size() || unit().file != file ? close_file(file) : Status();
}

// The header page comes last: a file that has it holds all its units.
Status PackedWriter::close_file(std::uint32_t file) {
  index_.files[file].units_checksum = checksum_units(index_, file);
  ASSIGN_OR_RETURN(const auto data, out_->open(index_.files[file].name));
  RETURN_IF_ERROR(data->write(0, make_header_page(index_, file)));
  RETURN_IF_ERROR(data->resize(index_.files[file].bytes));
  return data->sync();
}

Status PackedWriter::write_file(const std::string& name, std::string_view text) {
  ASSIGN_OR_RETURN(const auto file, out_->open(name));
  RETURN_IF_ERROR(file->write(0, bytes_of(text)));
  RETURN_IF_ERROR(file->resize(text.size()));
  return file->sync();
}

Status PackedWriter::write_rest(std::span<const SmallFile> small_files) {
  CHECK(!finished_ && next_ == index_.units.size());
  for (const SmallFile& small : small_files) RETURN_IF_ERROR(write_file(small.name, small.text));
  const std::string partial = std::string(kPackedIndexName) + ".partial";
  RETURN_IF_ERROR(write_file(partial, write_packed_index(index_)));
  RETURN_IF_ERROR(out_->sync());
  RETURN_IF_ERROR(out_->rename(partial, kPackedIndexName));
  RETURN_IF_ERROR(out_->sync());
  RETURN_IF_ERROR(out_->remove(kPackJournalName));
  RETURN_IF_ERROR(out_->sync());
  finished_ = true;
  return {};
}

}  // namespace foregate
