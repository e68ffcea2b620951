// A file system behind another that goes wrong on every N-th read: an I/O error, a file that ends too soon, a bit that
// is not the disk's, a slow read. Files have no descriptor, so that every read comes by here. Reads may come from any
// thread; the faults are set between runs.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "engine/io/file.h"

namespace foregate {

enum class Fault { kNone, kIoError, kShortFile, kFlippedBit, kSlow };

struct FaultFiles final : FileSystem {
  explicit FaultFiles(const FileSystem& behind) : files(behind) {}

  const FileSystem& files;
  std::string suffix;  // of the paths whose reads count; empty: all
  std::atomic<Fault> fault{Fault::kNone};
  std::atomic<std::uint64_t> every{1};      // this one of so many reads goes wrong
  std::atomic<std::uint64_t> shift{0};      // reads before the first of them
  std::atomic<std::int64_t> slow_us{1000};  // of kSlow; may change while reads go on
  mutable std::atomic<std::uint64_t> reads{0};
  mutable std::atomic<std::uint64_t> faults{0};

  // Forgets what was counted.
  void set(Fault kind, std::uint64_t one_of, std::uint64_t first = 0) {
    fault = kind;
    every = one_of;
    shift = first;
    reads = 0;
    faults = 0;
  }

  Result<std::unique_ptr<File>> open(const std::string& path) const override;
  bool exists(const std::string& path) const override { return files.exists(path); }
  Result<std::vector<std::string>> list(const std::string& dir) const override { return files.list(dir); }
};

class FaultFile final : public File {
 public:
  FaultFile(const FaultFiles& files, std::unique_ptr<File> file) : files_(files), file_(std::move(file)) {}
  std::uint64_t size() const override { return file_->size(); }
  const std::string& path() const override { return file_->path(); }
  Status read(std::uint64_t offset, std::span<std::byte> out) const override {
    const Fault fault = next();
    if (fault == Fault::kIoError) return unavailable(path() + ": Input/output error");
    if (fault == Fault::kShortFile) return data_loss(path() + ": the file became shorter while it was read");
    if (fault == Fault::kSlow) std::this_thread::sleep_for(std::chrono::microseconds(files_.slow_us));
    const Status status = file_->read(offset, out);
    if (fault == Fault::kFlippedBit && !out.empty()) out[out.size() / 2] ^= std::byte{4};
    return status;
  }

 private:
  Fault next() const {
    if (!path().ends_with(files_.suffix)) return Fault::kNone;
    const std::uint64_t number = files_.reads++;
    const Fault fault = files_.fault;
    if (fault == Fault::kNone || number < files_.shift || (number - files_.shift + 1) % files_.every != 0) {
      return Fault::kNone;
    }
    ++files_.faults;
    return fault;
  }
  const FaultFiles& files_;
  std::unique_ptr<File> file_;
};

inline Result<std::unique_ptr<File>> FaultFiles::open(const std::string& path) const {
  ASSIGN_OR_RETURN(auto file, files.open(path));
  return std::unique_ptr<File>(new FaultFile(*this, std::move(file)));
}

}  // namespace foregate
