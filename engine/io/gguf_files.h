// The GGUF file or files of one model. A split model is <name>-00001-of-0000N.gguf and its followers, found from the
// first; metadata is that of the first file. Owner: whoever opens; immutable after, safe to share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/io/gguf.h"

namespace foregate {

struct GgufModel {
  std::vector<std::unique_ptr<File>> files;
  std::vector<std::vector<GgufTensor>> tensors;  // per file
  GgufHeader header;                             // of the first file, without its tensors
};

// Opens `path` and, when it says split.count > 1, the files after it. Errors of read_gguf_header(), and kDataLoss or
// kInvalidArgument naming the file whose place in the split is wrong.
Result<GgufModel> open_gguf(const FileSystem& files, const std::string& path);

// The GGUF models in a directory: paths of single files and of the first files of splits, by name.
Result<std::vector<std::string>> list_gguf_models(const FileSystem& files, const std::string& dir);

}  // namespace foregate
