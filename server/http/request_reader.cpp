#include "server/http/request_reader.h"

#include <algorithm>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <limits>

#include "engine/api/limits.h"

namespace foregate {
namespace {

namespace http = boost::beast::http;
namespace asio = boost::asio;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string to_std(boost::beast::string_view text) {
  return std::string(text.data(), text.size());
}

// End of the header block within `bytes`, or npos; `fault` says what makes the block unacceptable.
std::size_t scan_header(std::string_view bytes, std::size_t from, const char** fault) {
  for (std::size_t i = from; i < bytes.size(); ++i) {
    const char c = bytes[i];
    if (c == '\0') return *fault = "the header holds a NUL byte", std::string_view::npos;
    if (c != '\n') continue;
    if (i == 0 || bytes[i - 1] != '\r') return *fault = "a header line ends without CR", std::string_view::npos;
    if (i >= 3 && bytes[i - 2] == '\n') return i + 1;  // what follows is no header: a body may begin with a space
    if (i + 1 < bytes.size() && (bytes[i + 1] == ' ' || bytes[i + 1] == '\t')) {
      return *fault = "a header line is folded", std::string_view::npos;
    }
  }
  return std::string_view::npos;
}

// Whether `bytes` begin with the whole line of a chunk that is not the last. A parser that asks for more behind it has
// met a quote that does not end there; and it would count the chunk's size anew each time.
bool whole_chunk_line(std::string_view bytes) {
  if (bytes.substr(0, 2) == "\r\n") bytes.remove_prefix(2);
  const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
  return line.size() < bytes.size() && line.find_first_not_of('0') < line.find_first_of("; \t");
}

std::size_t count_header(const Headers& headers, std::string_view name) {
  return static_cast<std::size_t>(
      std::count_if(headers.begin(), headers.end(), [&](const auto& header) { return header.first == name; }));
}

}  // namespace

struct RequestReader::Impl {
  ReaderLimits limits;
  State state = State::kHeader;
  http::request_parser<http::string_body> parser;
  HttpRequest head;
  std::size_t scanned = 0;
  std::size_t empty_bytes = 0;  // of empty lines before the request line, in all pieces
  std::uint64_t announced = 0;
  bool expects_continue = false;
  int status = 0;
  std::string error;

  std::size_t fail(int code, std::string text) {
    state = State::kFailed;
    status = code;
    error = std::move(text);
    return 0;
  }

  std::size_t fail_parse(const boost::system::error_code& code) {
    if (code == http::error::body_limit) {
      return fail(413, "the body is larger than " + std::to_string(limits.body_bytes) + " bytes");
    }
    if (code == http::error::header_limit) return fail(431, "the header is too large");
    if (code == http::error::bad_version) return fail(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    return fail(400, "malformed HTTP request: " + code.message());
  }

  std::size_t feed_header(std::string_view bytes) {
    std::size_t skipped = 0;
    for (; empty_bytes < 4 && bytes.substr(skipped, 2) == "\r\n"; empty_bytes += 2) skipped += 2;
    const std::string_view block = bytes.substr(skipped);
    if (block.empty()) return skipped;
    if (scanned == 0 && !std::isalpha(static_cast<unsigned char>(block[0])) && block != "\r") {
      return fail(400, "this is not HTTP");
    }
    const char* fault = nullptr;
    const std::size_t end = scan_header(block.substr(0, limits.header_bytes + 1), scanned, &fault);
    if (fault != nullptr) return fail(400, fault);
    if (end == std::string_view::npos) {
      if (block.size() > limits.header_bytes) {
        return fail(431, "the header is larger than " + std::to_string(limits.header_bytes) + " bytes");
      }
      scanned = block.empty() ? 0 : block.size() - 1;
      return skipped;
    }
    return parse_header(block.substr(0, end)) ? skipped + end : 0;
  }

  bool parse_header(std::string_view block) {
    parser.eager(true);
    parser.header_limit(static_cast<std::uint32_t>(block.size() + 1));
    parser.body_limit(limits.body_bytes);
    boost::system::error_code code;
    parser.put(asio::const_buffer(block.data(), block.size()), code);
    if (code && code != http::error::need_more) return fail_parse(code), false;
    if (!parser.is_header_done()) return fail(400, "malformed HTTP header"), false;
    copy_head();
    if (!check_head()) return false;
    state = parser.is_done() ? State::kDone : State::kBody;
    return true;
  }

  void copy_head() {
    const auto& message = parser.get();
    head.method = to_std(message.method_string());
    const std::string target = to_std(message.target());
    const std::size_t question = target.find('?');
    head.path = target.substr(0, question);
    if (question != std::string::npos) head.query = target.substr(question + 1);
    for (const auto& field : message) {
      head.headers.emplace_back(lower(to_std(field.name_string())), to_std(field.value()));
    }
    head.http_1_1 = message.version() == 11;
    head.keep_alive = message.keep_alive();
    if (parser.content_length()) announced = *parser.content_length();
  }

  bool check_head() {
    const std::size_t lengths = count_header(head.headers, "content-length");
    const std::size_t encodings = count_header(head.headers, "transfer-encoding");
    if (lengths > 1 || (lengths == 1 && head.header("content-length").find(',') != std::string_view::npos)) {
      return fail(400, "more than one Content-Length"), false;
    }
    if (lengths + encodings > 1) return fail(400, "Content-Length together with Transfer-Encoding"), false;
    if (encodings == 1 && lower(head.header("transfer-encoding")) != "chunked") {
      return fail(501, "the only Transfer-Encoding taken is chunked"), false;
    }
    if (encodings == 1 && !head.http_1_1) return fail(400, "Transfer-Encoding in an HTTP/1.0 request"), false;
    const std::size_t hosts = count_header(head.headers, "host");
    if (hosts > 1 || (hosts == 0 && head.http_1_1)) return fail(400, "exactly one Host header is needed"), false;
    if (head.path.empty() || (head.path[0] != '/' && !(head.path == "*" && head.method == "OPTIONS"))) {
      return fail(400, "the request target is not a path"), false;
    }
    const std::string expectation = lower(head.header("expect"));
    if (!expectation.empty() && expectation != "100-continue") return fail(417, "unknown expectation"), false;
    expects_continue = !expectation.empty() && head.http_1_1 && !parser.is_done();
    return true;
  }

  // A chunk's header and the trailers are taken whole or not at all. What the parser sees of them at a time is bounded
  // by their limit, so that it does not matter in which pieces they come.
  std::size_t feed_body(std::string_view bytes) {
    const std::size_t most = parser.chunked() ? kMaxChunkHeaderBytes : bytes.size();
    boost::system::error_code code;
    std::size_t taken = 0;
    while (taken < bytes.size() && !parser.is_done()) {
      const std::string_view seen = bytes.substr(taken, most);
      const std::size_t count = parser.put(asio::const_buffer(seen.data(), seen.size()), code);
      taken += count;
      if (code && code != http::error::need_more) return fail_parse(code);
      if (count > 0) continue;
      if (parser.chunked() && whole_chunk_line(seen)) return fail(400, "malformed chunk extension");
      if (parser.chunked() && seen.size() == most) return fail(400, "a chunk header or the trailers are too large");
      break;
    }
    if (parser.is_done()) state = State::kDone;
    return taken;
  }
};

RequestReader::RequestReader(const ReaderLimits& limits) : impl_(std::make_unique<Impl>()) {
  impl_->limits = limits;
}
RequestReader::~RequestReader() = default;

std::size_t RequestReader::feed(std::string_view bytes) {
  std::size_t taken = 0;
  if (impl_->state == State::kHeader) taken = impl_->feed_header(bytes);
  if (impl_->state == State::kBody && taken < bytes.size()) taken += impl_->feed_body(bytes.substr(taken));
  return taken;
}

RequestReader::State RequestReader::state() const {
  return impl_->state;
}
bool RequestReader::expects_continue() const {
  return impl_->expects_continue;
}
const HttpRequest& RequestReader::head() const {
  return impl_->head;
}
std::uint64_t RequestReader::body_charge() const {
  return std::max<std::uint64_t>(impl_->announced, impl_->parser.get().body().size());
}
int RequestReader::error_status() const {
  return impl_->status;
}
const std::string& RequestReader::error() const {
  return impl_->error;
}

HttpRequest RequestReader::take() {
  HttpRequest request = std::move(impl_->head);
  request.body = std::move(impl_->parser.get().body());
  return request;
}

}  // namespace foregate
