#include "kernels/registry/gpu.h"

#include <dlfcn.h>
#include <unistd.h>

#include <climits>
#include <cstring>

#include "kernels/cuda/module.h"

namespace foregate {
namespace {

constexpr const char* kModuleFile = "libforegate_cuda.so";

std::string program_folder() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0) return ".";
  const std::string text(path, static_cast<std::size_t>(length));
  return text.substr(0, text.rfind('/'));
}

std::string find_module(const std::string& asked) {
  if (!asked.empty()) return asked;
  for (const char* folder : {"/", "/../lib/"}) {
    const std::string path = program_folder() + folder + kModuleFile;
    if (access(path.c_str(), R_OK) == 0) return path;
  }
  return "";
}

// Stays loaded for good: its ops and devices may be used until the process ends.
const CudaModule* load_module(const std::string& path, std::string* error) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto entry = handle == nullptr ? nullptr : reinterpret_cast<CudaModuleEntry>(dlsym(handle, kCudaModuleEntry));
  if (entry == nullptr) {
    const char* why = dlerror();
    *error = why != nullptr ? why : path + " is no CUDA module";
    return nullptr;
  }
  const CudaModule* module = entry();
  if (std::strcmp(module->build, kCudaModuleBuild) == 0) return module;
  *error = path + " is of build " + module->build + ", the program of " + kCudaModuleBuild;
  return nullptr;
}

const CudaModule* find_and_load(const GpuChoice& choice, std::string* path, std::string* error) {
  *path = find_module(choice.module);
  if (!path->empty()) return load_module(*path, error);
  *error = std::string("no ") + kModuleFile + " beside the program";
  return nullptr;
}

}  // namespace

Backend make_gpu_backend(const GpuChoice& choice, std::string* error) {
  Backend backend;
  std::string path;
  const CudaModule* module = find_and_load(choice, &path, error);
  if (module == nullptr) return backend;
  backend.device =
      module->open({.ordinal = choice.ordinal, .wraps = choice.wraps, .library_rows = choice.library_rows}, error);
  if (backend.device == nullptr) return backend;
  backend.ops = *module->ops;
  backend.isa = "cuda";
  backend.reason = "GPU " + std::to_string(choice.ordinal) + " by " + path + " (" + module->architectures + ")";
  return backend;
}

bool gpu_library_product(const GpuChoice& choice, Stream& stream, const void* weights, const void* x, View2<float> y,
                         std::int64_t k) {
  std::string path, error;
  const CudaModule* module = find_and_load(choice, &path, &error);
  return module != nullptr && module->library_product(stream, weights, x, y, k);
}

void* gpu_shared_memory(const GpuChoice& choice, std::size_t bytes, std::string* error) {
  std::string path;
  const CudaModule* module = find_and_load(choice, &path, error);
  void* memory = module == nullptr ? nullptr : module->shared_memory(bytes);
  if (module != nullptr && memory == nullptr) *error = "no memory that host and GPU share";
  return memory;
}

std::unique_ptr<Peers> join_gpu_peers(const GpuChoice& choice, const PeersOptions& options, std::string* error) {
  std::string path;
  const CudaModule* module = find_and_load(choice, &path, error);
  return module == nullptr ? nullptr : module->join_peers(options, error);
}

bool make_gpu_peer_id(const GpuChoice& choice, const std::string& library, PeerId* id, std::string* error) {
  std::string path;
  const CudaModule* module = find_and_load(choice, &path, error);
  return module != nullptr && module->make_peer_id(library, id, error);
}

}  // namespace foregate
