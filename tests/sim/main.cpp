// The simulator judges bookkeeping itself, after each turn: a planted bug must be found, not end the program.
#include <gtest/gtest.h>

#include "engine/base/log.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  foregate::set_log_level(foregate::LogLevel::kOff);
  return RUN_ALL_TESTS();
}
