// What a path given by the user leads to, decided in one place: a Hugging Face directory or a GGUF model. A new kind of
// source is a value here, a rule in find_model() and a case in open_model(); its text is found in runtime/model_text.
#pragma once

#include <string>

#include "engine/base/status.h"
#include "engine/io/file.h"
#include "engine/io/gguf.h"
#include "engine/model/model_config.h"
#include "engine/weights/tensor_index.h"

namespace foregate {

enum class ModelKind { kHuggingFace, kGguf };

struct ModelSource {
  ModelKind kind = ModelKind::kHuggingFace;
  std::string path;  // the directory, or the (first) GGUF file
};

// A file must be a GGUF file. A directory is taken for a Hugging Face model (or one that `foregate pack` wrote, which
// is laid out like it) unless it has no weights of that kind but one GGUF model. kNotFound, or kInvalidArgument when
// several GGUF models are there.
Result<ModelSource> find_model(const FileSystem& files, const std::string& path);

// A model of which nothing but headers is read.
struct OpenModel {
  ModelSource source;
  ModelConfig config;
  TensorIndex index;
  GgufHeader gguf;  // kGguf: the metadata, for the tokenizer
};

// Errors of find_model(), read_model_config(), read_gguf_config() and TensorIndex.
Result<OpenModel> open_model(const FileSystem& files, const std::string& path);

// The model's name: the last part of the path, of a GGUF file without ".gguf" and the place in a split.
std::string model_name(const std::string& path);

}  // namespace foregate
