// The files of the page at /, held by the program itself. Const; any thread.
#pragma once

#include <span>
#include <string_view>

namespace foregate {

struct PageFile {
  std::string_view path;  // of the URL
  std::string_view content_type;
  std::string_view body;
};

std::span<const PageFile> page_files();

const PageFile* page_file(std::string_view path);  // null: there is none

}  // namespace foregate
