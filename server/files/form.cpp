#include "server/files/form.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

namespace foregate {
namespace {

constexpr std::size_t kMaxBoundary = 70;  // RFC 2046, 5.1.1
constexpr std::size_t kMaxPartHeader = 4096;
constexpr std::int64_t kMaxLimit = 10000;

Status no_form(const std::string& what) {
  return invalid_argument("the form " + what, "file");
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// The value of name=value or name="value" among parameters that semicolons part; empty: there is none.
std::string parameter(std::string_view header, std::string_view name) {
  for (std::size_t at = header.find(';'); at != std::string_view::npos;) {
    std::size_t begin = header.find_first_not_of(" \t", at + 1);
    if (begin == std::string_view::npos) return {};
    const std::size_t equals = header.find('=', begin);
    if (equals == std::string_view::npos) return {};
    const std::string key = lower(header.substr(begin, equals - begin));
    std::string value;
    std::size_t next = equals + 1;
    if (next < header.size() && header[next] == '"') {
      for (++next; next < header.size() && header[next] != '"'; ++next) {
        if (header[next] == '\\' && next + 1 < header.size()) ++next;
        value += header[next];
      }
      next = header.find(';', std::min(next, header.size()));
    } else {
      const std::size_t end = std::min(header.find(';', next), header.size());
      value = std::string(header.substr(next, end - next));
      while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.pop_back();
      next = header.find(';', end);
    }
    if (key == name) return value;
    at = next;
  }
  return {};
}

Result<FormPart> read_part(std::string_view headers, std::string_view body) {
  FormPart part;
  part.body = body;
  while (!headers.empty()) {
    const std::size_t end = std::min(headers.find("\r\n"), headers.size());
    const std::string_view line = headers.substr(0, end);
    headers.remove_prefix(std::min(headers.size(), end + 2));
    if (lower(line.substr(0, 20)) != "content-disposition:") continue;
    part.name = parameter(line, "name");
    part.filename = parameter(line, "filename");
  }
  if (part.name.empty()) return no_form("has a part without a name");
  return part;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const int low = std::tolower(static_cast<unsigned char>(c));
  return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped =
        text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    if (escaped) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

}  // namespace

Result<std::vector<FormPart>> parse_form(std::string_view content_type, std::string_view body) {
  const std::string boundary = parameter(content_type, "boundary");
  if (boundary.empty() || boundary.size() > kMaxBoundary) return no_form("needs a boundary of 1 to 70 bytes");
  const std::string first = "--" + boundary, next = "\r\n" + first;
  std::size_t at = body.starts_with(first) ? 0 : body.find(next);
  if (at == std::string_view::npos) return no_form("does not hold its boundary");
  at += body.starts_with(first) ? first.size() : next.size();
  std::vector<FormPart> parts;
  while (!body.substr(at).starts_with("--")) {
    if (!body.substr(at).starts_with("\r\n")) return no_form("has bytes behind a boundary");
    const std::size_t begin = at + 2;
    const std::size_t head = body.substr(begin, kMaxPartHeader).find("\r\n\r\n");
    if (head == std::string_view::npos) return no_form("has a part without an end of its header");
    const std::size_t data = begin + head + 4;
    const std::size_t end = body.find(next, data);
    if (end == std::string_view::npos) return no_form("has a part without an end");
    if (parts.size() == kMaxFormParts) return no_form("has more than " + std::to_string(kMaxFormParts) + " parts");
    ASSIGN_OR_RETURN(FormPart part, read_part(body.substr(begin, head), body.substr(data, end - data)));
    parts.push_back(std::move(part));
    at = end + next.size();
  }
  return parts;
}

Result<ListQuery> parse_list_query(std::string_view query, std::int64_t default_limit) {
  ListQuery parsed;
  parsed.limit = default_limit;
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(query.size(), end + 1));
    const std::size_t equals = std::min(pair.find('='), pair.size());
    const std::string name = decoded(pair.substr(0, equals));
    const std::string value = decoded(pair.substr(std::min(pair.size(), equals + 1)));
    if (name == "limit") {
      const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), parsed.limit);
      const bool whole = error == std::errc() && stop == value.data() + value.size();
      if (!whole || parsed.limit < 1 || parsed.limit > kMaxLimit) {
        return invalid_argument("limit must be a whole number between 1 and " + std::to_string(kMaxLimit), "limit");
      }
    } else if (name == "order") {
      if (value != "asc" && value != "desc") return invalid_argument("order must be asc or desc", "order");
      parsed.oldest_first = value == "asc";
    } else if (name == "purpose") {
      if (value != "batch" && value != "batch_output") {
        return invalid_argument("purpose must be batch or batch_output", "purpose");
      }
      parsed.purpose = value;
    } else if (name == "after") {
      parsed.after = value;
    }
  }
  return parsed;
}

}  // namespace foregate
