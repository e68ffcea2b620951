#include "engine/model/arch.h"

namespace foregate {

std::span<const ArchTable* const> all_archs() {
  static const ArchTable* const kAll[] = {&kArchMixtral,  &kArchOlmoe,    &kArchQwen2Moe,    &kArchQwen3,
                                          &kArchQwen3Moe, &kArchPreGated, &kArchSmallThinker};
  return kAll;
}

const ArchTable* find_arch(std::string_view class_name, std::string_view model_type) {
  for (const ArchTable* arch : all_archs()) {
    if (class_name.empty() ? model_type == arch->model_type : class_name == arch->class_name) return arch;
  }
  return nullptr;
}

}  // namespace foregate
