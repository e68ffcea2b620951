#include "server/files/file_service.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "server/files/form.h"
#include "server/http/errors.h"
#include "server/openai/fields.h"

namespace foregate {
namespace {

constexpr std::int64_t kDefaultFiles = 10000, kDefaultBatches = 20;  // of a list, as OpenAI has them
constexpr std::size_t kMaxName = 256;

HttpResponse json_answer(std::string body) {
  HttpResponse response;
  response.body = std::move(body);
  return response;
}

Status check_content(std::string_view bytes) {
  if (bytes.empty()) return invalid_argument("file is empty", "file");
  const bool packed = bytes.starts_with("\x1f\x8b") || bytes.starts_with("\x28\xb5\x2f\xfd");
  return packed ? invalid_argument("file must be plain lines of JSON, not compressed", "file") : Status();
}

// The file of an upload, and what it holds.
Result<std::string_view> read_upload(const HttpRequest& request, std::uint64_t most, StoredFile& file) {
  ASSIGN_OR_RETURN(const std::vector<FormPart> parts, parse_form(request.header("content-type"), request.body));
  const FormPart* content = nullptr;
  for (const FormPart& part : parts) {
    if (part.name == "purpose") file.purpose = std::string(part.body.substr(0, 64));
    if (part.name == "file") content = &part;
  }
  if (file.purpose != "batch") return invalid_argument("purpose must be batch", "purpose");
  if (content == nullptr) return invalid_argument("file is missing", "file");
  if (content->body.size() > most)
    return invalid_argument("file is larger than " + std::to_string(most) + " bytes", "file");
  RETURN_IF_ERROR(check_content(content->body));
  file.filename = content->filename.empty() ? "upload.jsonl" : content->filename.substr(0, kMaxName);
  file.bytes = content->body.size();
  return content->body;
}

// A page of a list; `items` oldest first, each with its id.
Result<HttpResponse> page_of(std::vector<std::pair<std::string, std::string>> items, const ListQuery& query) {
  if (!query.oldest_first) std::reverse(items.begin(), items.end());
  std::size_t begin = 0;
  if (!query.after.empty()) {
    const auto seen =
        std::find_if(items.begin(), items.end(), [&](const auto& one) { return one.first == query.after; });
    if (seen == items.end()) return invalid_argument("after is the id of nothing in this list", "after");
    begin = static_cast<std::size_t>(seen - items.begin()) + 1;
  }
  const std::size_t end = std::min(items.size(), begin + static_cast<std::size_t>(query.limit));
  Json list = Json::object();
  list["object"] = "list";
  list["data"] = Json::array();
  for (std::size_t i = begin; i < end; ++i) list["data"].push_back(Json::parse(items[i].second));
  list["first_id"] = begin < end ? Json(items[begin].first) : Json(nullptr);
  list["last_id"] = begin < end ? Json(items[end - 1].first) : Json(nullptr);
  list["has_more"] = end < items.size();
  return json_answer(list.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void respond(const std::shared_ptr<Exchange>& exchange, Result<std::string> body) {
  if (body.ok()) return exchange->respond(json_answer(std::move(body).value()));
  const bool conflict = body.status().field() == "status";  // it is not in a state for this
  exchange->respond(conflict ? error_response(409, body.status().message()) : error_response(body.status()));
}

// Sends a file piece by piece, no faster than its client reads.
class FileSender : public std::enable_shared_from_this<FileSender> {
 public:
  FileSender(std::shared_ptr<Exchange> exchange, std::FILE* file, std::uint64_t bytes, std::size_t piece)
      : exchange_(std::move(exchange)), file_(file), bytes_(bytes), piece_(piece, '\0') {}
  ~FileSender() { std::fclose(file_); }

  void begin(IoLoop& loop) {
    loop_ = &loop;
    exchange_->on_gone([self = shared_from_this()](const char*) { self->exchange_ = nullptr; });
    exchange_->on_pressure([self = shared_from_this()](bool pressed) {
      self->pressed_ = pressed;
      if (!pressed) self->later();
    });
    exchange_->begin_stream("application/octet-stream", {});
    later();
  }

 private:
  void later() {
    loop_->post([self = shared_from_this()] { self->next(); });
  }
  void next() {
    if (!exchange_ || pressed_) return;
    const std::size_t count = std::fread(piece_.data(), 1, piece_.size(), file_);
    if (count > 0) exchange_->send(std::string_view(piece_).substr(0, count));
    sent_ += count;
    if (count == piece_.size()) return later();
    const auto exchange = std::exchange(exchange_, nullptr);
    sent_ == bytes_ ? exchange->end_stream() : exchange->break_off();
  }

  IoLoop* loop_ = nullptr;
  std::shared_ptr<Exchange> exchange_;
  std::FILE* file_;
  const std::uint64_t bytes_;  // that the file must have
  std::uint64_t sent_ = 0;
  std::string piece_;
  bool pressed_ = false;
};

}  // namespace

Result<std::unique_ptr<FileService>> FileService::open(IoLoop& loop, Frontend& frontend, HttpCallbacks callbacks,
                                                       BatchQueue::ClientOf client_of, const FileOptions& options,
                                                       Metrics& metrics) {
  std::unique_ptr<FileService> made(new FileService(loop, frontend, options));
  ASSIGN_OR_RETURN(made->store_, FileStore::open(options.folder, options.store));
  made->batches_ = std::make_unique<BatchQueue>(loop, frontend, std::move(callbacks), made->store_,
                                                std::move(client_of), options.batches, metrics);
  RETURN_IF_ERROR(made->batches_->open());
  return made;
}

void FileService::handle(std::shared_ptr<Exchange> exchange, const RouteMatch& match, const Owner& owner) {
  switch (match.route->endpoint) {
    case Endpoint::kFileUpload: return upload(exchange, owner.name);
    case Endpoint::kFiles: return list_files(exchange, owner.name);
    case Endpoint::kBatches: return list_batches(exchange, owner.name);
    case Endpoint::kBatchCreate: return create_batch(exchange, owner.name);
    case Endpoint::kBatch: return respond(exchange, batches_->show(owner.name, match.id));
    case Endpoint::kBatchCancel: return respond(exchange, batches_->cancel(owner.name, match.id));
    default: break;
  }
  const StoredFile* file = store_.find(match.id);
  if (file == nullptr || file->owner != owner.name) return respond(exchange, not_found("there is no such file"));
  if (match.route->endpoint == Endpoint::kFile) return respond(exchange, FileStore::describe(*file, false));
  if (match.route->endpoint == Endpoint::kFileDelete) return remove(exchange, *file);
  send_content(exchange, *file);
}

void FileService::upload(const std::shared_ptr<Exchange>& exchange, const std::string& owner) {
  const std::uint64_t most = exchange->request().body.size();
  if (const Status room = store_.reserve(most); !room.ok()) return respond(exchange, room);
  auto file = std::make_shared<StoredFile>();
  file->id = FileStore::new_id("file-");
  file->owner = owner;
  file->created = loop_.clock().wall_seconds();
  const std::string path = store_.path(file->id);
  frontend_.run(
      [exchange, file, path, limit = options_.store.file_bytes](const ApiContext&) -> Status {
        ASSIGN_OR_RETURN(const std::string_view content, read_upload(exchange->request(), limit, *file));
        RETURN_IF_ERROR(FileStore::write_whole(path, content));
        return FileStore::write_whole(path + ".json", FileStore::describe(*file, true));
      },
      [this, alive = alive_, exchange, file, most](const Status& status) {
        if (!*alive) return;
        store_.release(most);
        if (!status.ok()) return respond(exchange, status);
        store_.add(*file);
        respond(exchange, FileStore::describe(*file, false));
      });
}

void FileService::list_files(const std::shared_ptr<Exchange>& exchange, const std::string& owner) const {
  const auto query = parse_list_query(exchange->request().query, kDefaultFiles);
  if (!query.ok()) return respond(exchange, query.status());
  std::vector<const StoredFile*> mine;
  for (const auto& [id, file] : store_.all()) {
    if (file.owner == owner && (query->purpose.empty() || file.purpose == query->purpose)) mine.push_back(&file);
  }
  std::stable_sort(mine.begin(), mine.end(), [](const auto* a, const auto* b) { return a->created < b->created; });
  std::vector<std::pair<std::string, std::string>> items;
  for (const StoredFile* file : mine) items.emplace_back(file->id, FileStore::describe(*file, false));
  auto page = page_of(std::move(items), query.value());
  exchange->respond(page.ok() ? std::move(page).value() : error_response(page.status()));
}

void FileService::list_batches(const std::shared_ptr<Exchange>& exchange, const std::string& owner) const {
  const auto query = parse_list_query(exchange->request().query, kDefaultBatches);
  if (!query.ok()) return respond(exchange, query.status());
  std::vector<std::pair<std::string, std::string>> items;
  for (const BatchRecord* record : batches_->of(owner)) items.emplace_back(record->id(), batches_->shown(*record));
  auto page = page_of(std::move(items), query.value());
  exchange->respond(page.ok() ? std::move(page).value() : error_response(page.status()));
}

void FileService::create_batch(const std::shared_ptr<Exchange>& exchange, const std::string& owner) {
  auto body = parse_object(exchange->request().body);
  if (!body.ok()) return respond(exchange, body.status());
  batches_->create(owner, *body, [exchange](Result<std::string> made) { respond(exchange, std::move(made)); });
}

void FileService::remove(const std::shared_ptr<Exchange>& exchange, const StoredFile& file) {
  if (batches_->needs(file.id))
    return exchange->respond(error_response(409, "a batch that has not ended reads this file"));
  const std::string id = file.id;
  if (const Status removed = store_.remove(id); !removed.ok()) return respond(exchange, removed);
  respond(exchange, Json{{"id", id}, {"object", "file"}, {"deleted", true}}.dump());
}

void FileService::send_content(const std::shared_ptr<Exchange>& exchange, const StoredFile& file) const {
  std::FILE* opened = std::fopen(store_.path(file.id).c_str(), "rbe");
  if (opened == nullptr) return respond(exchange, unavailable("the file cannot be read"));
  if (exchange->request().method == "HEAD") {
    std::fclose(opened);
    HttpResponse response;
    response.content_type = "application/octet-stream";
    return exchange->respond(std::move(response));
  }
  std::make_shared<FileSender>(exchange, opened, file.bytes, options_.piece_bytes)->begin(loop_);
}

}  // namespace foregate
