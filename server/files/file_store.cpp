#include "server/files/file_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <utility>

#include "engine/base/log.h"
#include "server/openai/fields.h"
#include "server/openai/members.h"

namespace foregate {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDescription = ".json";

Status failed(const std::string& path, const char* what) {
  const int error = errno;
  const std::string text = path + " cannot be " + what + ": " + std::strerror(error);
  return error == ENOSPC || error == EDQUOT ? resource_exhausted(text) : unavailable(text);
}

Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t put = ::write(fd, text.data(), text.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed(path, "written");
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return ::fsync(fd) != 0 ? failed(path, "synced") : Status();
}

}  // namespace

FileStore::FileStore(FileStore&& other) noexcept {
  *this = std::move(other);
}

FileStore& FileStore::operator=(FileStore&& other) noexcept {
  std::swap(folder_, other.folder_);
  std::swap(limits_, other.limits_);
  std::swap(lock_, other.lock_);
  std::swap(files_, other.files_);
  std::swap(bytes_, other.bytes_);
  std::swap(reserved_bytes_, other.reserved_bytes_);
  std::swap(reserved_, other.reserved_);
  return *this;
}

FileStore::~FileStore() {
  if (lock_ >= 0) ::close(lock_);
}

Result<FileStore> FileStore::open(const std::string& folder, const StoreLimits& limits) {
  FileStore store;
  store.folder_ = folder;
  store.limits_ = limits;
  const auto bad = [&](const std::string& why) {
    return invalid_argument("--files-dir: " + folder + ": " + why, "--files-dir");
  };
  std::error_code error;
  for (const char* part : {"/files", "/batches"}) {
    fs::create_directories(folder + part, error);
    if (error) return bad(error.message());
  }
  store.lock_ = ::open((folder + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (store.lock_ < 0) return bad(std::strerror(errno));
  if (::flock(store.lock_, LOCK_EX | LOCK_NB) != 0) return bad("another server keeps its files there");
  RETURN_IF_ERROR(store.read_files());
  return store;
}

Status FileStore::read_files() {
  std::vector<fs::path> bare;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_ + "/files", error)) {
    if (entry.path().extension() != kDescription) {
      bare.push_back(entry.path());
      continue;
    }
    std::ifstream in(entry.path());
    std::ostringstream text;
    text << in.rdbuf();
    auto file = read_description(text.str());
    const auto size = file.ok() ? fs::file_size(path(file->id), error) : 0;
    if (!file.ok() || error || entry.path().stem() != file->id || size != file->bytes) {
      log_warn("--files-dir: " + entry.path().string() + " describes no file that is there; it is left alone");
      continue;
    }
    add(*file);
  }
  if (error) return invalid_argument("--files-dir: " + folder_ + ": " + error.message(), "--files-dir");
  for (const fs::path& path : bare) {
    const bool ours = path.filename().string().starts_with("file-");
    if (ours && !fs::exists(path.string() + std::string(kDescription), error)) fs::remove(path, error);
  }
  return {};
}

Status FileStore::reserve(std::uint64_t bytes) {
  if (files_.size() + reserved_ >= limits_.files) {
    return invalid_argument("this server keeps no more than " + std::to_string(limits_.files) + " files; delete some",
                            "file");
  }
  if (bytes_ + reserved_bytes_ + bytes > limits_.total_bytes) {
    return invalid_argument(
        "the files on this server would have more than " + std::to_string(limits_.total_bytes) + " bytes; delete some",
        "file");
  }
  ++reserved_;
  reserved_bytes_ += bytes;
  return {};
}

void FileStore::release(std::uint64_t bytes) {
  --reserved_;
  reserved_bytes_ -= bytes;
}

void FileStore::add(const StoredFile& file) {
  const auto [place, fresh] = files_.insert_or_assign(file.id, file);
  if (fresh) bytes_ += file.bytes;
}

Status FileStore::remove(const std::string& id) {
  const auto found = files_.find(id);
  if (found == files_.end()) return not_found("there is no such file");
  std::error_code error;
  fs::remove(path(id) + std::string(kDescription), error);
  if (error) return unavailable("the file cannot be deleted: " + error.message());
  fs::remove(path(id), error);
  bytes_ -= found->second.bytes;
  files_.erase(found);
  return {};
}

const StoredFile* FileStore::find(const std::string& id) const {
  const auto found = files_.find(id);
  return found == files_.end() ? nullptr : &found->second;
}

std::string FileStore::new_id(const char* prefix) {
  static const char* kHex = "0123456789abcdef";
  std::random_device entropy;
  std::string id = prefix;
  for (int i = 0; i < 3; ++i) {
    std::uint32_t word = entropy();
    for (int k = 0; k < 8; ++k, word >>= 4) id += kHex[word & 15];
  }
  return id;
}

Status FileStore::write_whole(const std::string& path, std::string_view text) {
  const std::string other = path + ".new";
  const int fd = ::open(other.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return failed(other, "opened");
  const Status written = write_all(fd, text, other);
  ::close(fd);
  if (!written.ok()) return ::unlink(other.c_str()), written;
  return ::rename(other.c_str(), path.c_str()) != 0 ? failed(path, "put in place") : Status();
}

std::string FileStore::describe(const StoredFile& file, bool with_owner) {
  Json json = Json::object();
  json["id"] = file.id;
  json["object"] = "file";
  json["bytes"] = file.bytes;
  json["created_at"] = file.created;
  json["filename"] = file.filename;
  json["purpose"] = file.purpose;
  json["status"] = "processed";
  if (with_owner) json["owner"] = file.owner;
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<StoredFile> FileStore::read_description(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  StoredFile file;
  const bool numbers = json.is_object() && json.contains("bytes") && json["bytes"].is_number_unsigned() &&
                       json.contains("created_at") && json["created_at"].is_number_integer();
  if (!numbers) return data_loss("is no description of a file");
  file.id = text_member(json, "id");
  file.owner = text_member(json, "owner");
  file.filename = text_member(json, "filename");
  file.purpose = text_member(json, "purpose");
  file.bytes = json["bytes"].get<std::uint64_t>();
  file.created = json["created_at"].get<std::int64_t>();
  const bool plain = file.id.starts_with("file-") && file.id.find('/') == std::string::npos;
  return plain ? Result<StoredFile>(file) : Result<StoredFile>(data_loss("has no id of a file"));
}

}  // namespace foregate
