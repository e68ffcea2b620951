// Entry of every test program: broken bookkeeping is fatal here (kernels/api/check.h).
#include <gtest/gtest.h>

#include "kernels/api/check.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  foregate::make_bugs_fatal();
  return RUN_ALL_TESTS();
}
