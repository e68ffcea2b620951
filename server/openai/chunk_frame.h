// JSON that differs from one token to the next in a text only: what is around that text is made once, and no tree of
// JSON after that. One stream, one thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace foregate {

// Appends `text` as the inside of a JSON string, as nlohmann::json writes it: bytes that are no UTF-8 become U+FFFD.
void append_json_text(std::string_view text, std::string& out);

class ChunkFrame {
 public:
  ChunkFrame() = default;
  // `json` has empty strings where the text goes; the last `places` of its empty strings are those.
  ChunkFrame(std::string_view json, std::size_t places);
  bool made() const { return !parts_.empty(); }
  void fill(std::string_view text, std::string& out) const;  // replaces `out`

 private:
  std::vector<std::string> parts_;  // the text stands between each two
};

}  // namespace foregate
