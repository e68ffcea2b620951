// The subcommands of the program, one file each. argv[0] is the subcommand's name; the return value
// is the exit code: 0, 1 for a failure, 2 for wrong options.
#pragma once

namespace foregate {

int serve_command(int argc, char** argv);
int batch_command(int argc, char** argv);
int chat_command(int argc, char** argv);
int inspect_command(int argc, char** argv);
int bench_command(int argc, char** argv);
int bench_serve_command(int argc, char** argv);  // "serve" after bench
int pack_command(int argc, char** argv);
int trace_command(int argc, char** argv);
int place_command(int argc, char** argv);
int scale_command(int argc, char** argv);
int health_command(int argc, char** argv);
int rank_command(int argc, char** argv);

}  // namespace foregate
