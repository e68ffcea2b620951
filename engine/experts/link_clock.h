// For how long the link to the experts has nothing to do before the next layer asks for something. It differs: a layer
// that waits for loads leaves the link free from the arrival of the last one, a layer that finds all its experts from
// its beginning on. Averages of each of late, over decode steps; from one step to the next nothing is counted, for
// nobody knows how long a server rests. Pure: moments are given, in seconds.
#pragma once

#include "engine/experts/expert_key.h"

namespace foregate {

class LinkClock {
 public:
  // A layer begins. `decode`: its step holds no prompt rows.
  void begin(LayerId layer, bool decode, double now);
  // The running layer waits for experts that are not there.
  void loads() { loads_ = true; }
  // The last that it waited for has arrived.
  void arrived(double now) { end_ = now; }

  bool timed() const { return layer_ > 0; }  // a layer was timed
  double idle() const;                       // of the running layer, as far as it is known; 0 before that
  double layer() const { return layer_; }    // from one MoE layer to the next

 private:
  LayerId running_{-1};
  bool decode_ = false;
  bool loads_ = false;
  double begin_ = 0.0;
  double end_ = 0.0;
  double after_loads_ = 0.0;
  double without_ = 0.0;  // a layer that loads nothing
  double layer_ = 0.0;
};

}  // namespace foregate
