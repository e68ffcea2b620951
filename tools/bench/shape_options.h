// The options that say which random model is meant: the same for `foregate bench --shape` and `foregate pack --shape`.
#pragma once

#include <cstdint>
#include <string>

#include "tools/bench/planted_routing.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace foregate {

struct ShapeChoice {
  std::string shape;        // of all_shapes(); empty: none is asked for
  std::int32_t layers = 0;  // 0: the shape's own
  RoutingPlan routing;      // its seed is that of all weights
};

// Adds --shape, --layers, --skew and --affinity; returns --shape. A seed is for the caller to add.
CLI::Option* add_shape_options(CLI::App& app, const char* shape_help, ShapeChoice& choice);

}  // namespace foregate
