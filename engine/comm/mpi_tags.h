// The kinds of MPI messages between ranks; what each is for stands in mpi_job.cpp and mpi_line.cpp.
#pragma once

namespace foregate {

inline constexpr int kMpiFrame = 1;  // body and header of a message of transport.h
inline constexpr int kMpiClose = 2;  // the line has ended
inline constexpr int kMpiPulse = 3;  // a byte: its sender lives
inline constexpr int kMpiEnd = 4;    // rank 0 leaves the job

}  // namespace foregate
