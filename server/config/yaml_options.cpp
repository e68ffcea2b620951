#include "server/config/options.h"

#ifdef FOREGATE_HAVE_YAML
#include <yaml-cpp/yaml.h>
#endif

namespace foregate {

#ifdef FOREGATE_HAVE_YAML
namespace {

const OptionRow* find_row(std::string key) {
  for (char& c : key) c = c == '-' ? '_' : c;
  for (const OptionRow& row : option_rows()) {
    if (row.field == key && key != "config") return &row;
  }
  return nullptr;
}

Status apply_node(ServeOptions& options, const OptionRow& row, const YAML::Node& value, const std::string& origin) {
  if (row.kind == OptionKind::kList) {
    if (!value.IsSequence()) return invalid_argument(origin + " is not a list", origin);
    for (const YAML::Node& item : value) {
      if (!item.IsScalar()) return invalid_argument(origin + " holds something that is not text", origin);
      RETURN_IF_ERROR(set_option(options, row, item.Scalar(), origin));
    }
    return {};
  }
  if (!value.IsScalar()) return invalid_argument(origin + " is not a single value", origin);
  return set_option(options, row, value.Scalar(), origin);
}

}  // namespace

Status apply_yaml(ServeOptions& options, std::string_view yaml, const std::string& origin) {
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    if (root.IsNull()) return {};
    if (!root.IsMap()) return invalid_argument(origin + ": not a mapping of option names", origin);
    for (const auto& entry : root) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
      const OptionRow* row = find_row(key);
      if (row == nullptr) return invalid_argument(origin + ": no option is named \"" + key.substr(0, 100) + "\"", key);
      RETURN_IF_ERROR(apply_node(options, *row, entry.second, origin + ": " + key));
    }
  } catch (const YAML::Exception& error) {
    return invalid_argument(origin + ": " + error.what(), origin);
  }
  return {};
}

#else

Status apply_yaml(ServeOptions&, std::string_view, const std::string& origin) {
  return unimplemented("--config: " + origin + " cannot be read, this build has no YAML support", "--config");
}

#endif

}  // namespace foregate
