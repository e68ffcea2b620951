#include "engine/model/sidecar_file.h"

#include "engine/io/output.h"

namespace foregate {

Status write_sidecar(const std::string& dir, const std::string& name, std::span<const std::byte> bytes) {
  ASSIGN_OR_RETURN(const auto out, open_output_directory(dir));
  const std::string part = name + ".part";
  ASSIGN_OR_RETURN(const auto file, out->open(part));
  RETURN_IF_ERROR(file->write(0, bytes));
  RETURN_IF_ERROR(file->resize(bytes.size()));
  RETURN_IF_ERROR(file->sync());
  return out->rename(part, name);
}

}  // namespace foregate
