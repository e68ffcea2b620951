#include "server/ops/grammar_report.h"

namespace foregate {

GrammarReport::GrammarReport(Metrics& metrics)
    : compiles_{&metrics.counter("foregate_grammar_compiles", "Forms of output that were compiled")},
      failures_{&metrics.counter("foregate_grammar_failures", "Forms of output that were refused")},
      hits_{&metrics.counter("foregate_grammar_cache_hits", "Forms of output that were compiled before")},
      seconds_{&metrics.counter("foregate_grammar_compile_seconds", "Seconds spent on compiling them")},
      computed_{&metrics.counter("foregate_grammar_masks_computed", "Token masks that were worked out")},
      reused_{&metrics.counter("foregate_grammar_masks_reused", "Token masks that were known")},
      bytes_(metrics.gauge("foregate_grammar_cache_bytes", "Memory of the forms that are kept")) {}

void GrammarReport::Row::follow(double value) {
  if (value > seen) counter->add(value - seen);
  seen = value;
}

void GrammarReport::update(const CompilerFigures& now) {
  compiles_.follow(static_cast<double>(now.compiles));
  failures_.follow(static_cast<double>(now.failures));
  hits_.follow(static_cast<double>(now.cache_hits));
  seconds_.follow(now.compile_seconds);
  computed_.follow(static_cast<double>(now.masks_computed));
  reused_.follow(static_cast<double>(now.masks_reused));
  bytes_.set(static_cast<double>(now.cached_bytes));
}

}  // namespace foregate
