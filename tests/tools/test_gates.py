#!/usr/bin/env python3
"""Every gate passes on a clean little tree and fails on each planted fault. Run with plain python3."""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent.parent / "tools"
HEADER = "// What it is for.\n#pragma once\n"
CLEAN = {
    "Makefile": "test:\n\ttrue\n",
    "README.md": "See `kernels/api/view.h` and `make test`.\n",
    "kernels/api/view.h": HEADER + "struct View {};\n",
    "engine/base/status.h": HEADER + '#include "kernels/api/view.h"\nclass Status {\n};\n',
    "engine/kv/pool.cpp": '#include "engine/base/status.h"\nint pool() { return 1; }\n',
    "server/http/router.cpp": '#include "engine/base/status.h"\n',
}
LONG_FUNCTION = "int f() {\n" + "  g();\n" * 90 + "}\n"
FAULTS = [
    ("check_floors", "kernels/api/bad.h", HEADER + '#include "engine/base/status.h"\n'),
    ("check_floors", "engine/base/bad.cpp", '#include "engine/kv/pool.h"\n'),
    ("check_floors", "engine/kv/bad.cpp", '#include "engine/weights/index.h"\n'),
    ("check_floors", "engine/sched/bad.cpp", '#include "engine/model/model.h"\n'),
    ("check_floors", "engine/runtime/loop.cpp", '#include "kernels/registry/registry.h"\n'),
    ("check_floors", "server/http/bad.cpp", '#include "engine/runtime/boot.h"\n'),
    ("check_floors", "engine/base/bad.cpp", "#include <cuda_runtime.h>\n"),
    ("check_floors", "engine/base/bad.cpp", '#include "status.h"\n'),
    ("check_sizes", "engine/kv/long.cpp", "int x;\n" * 501),
    ("check_sizes", "engine/kv/long.cpp", LONG_FUNCTION),
    ("check_headers", "engine/kv/bad.h", "#pragma once\n"),
    ("check_headers", "engine/kv/bad.h", "// Says what.\nint x;\n"),
    ("check_headers", "engine/kv/bad.h", HEADER + "#include <nlohmann/json.hpp>\n"),
    ("check_headers", "engine/kv/bad.h", HEADER + "struct Status {};\n"),
    ("check_docs", "README.md", "See `kernels/api/gone.h`.\n"),
    ("check_docs", "README.md", "Run `make nothing`.\n"),
    ("check_docs", "README.md", "Call `GoneClass`.\n"),
    ("check_docs", "engine/README.md", "- **INV-999** Nobody keeps it.\n"),
]


def run_gate(gate, files):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root / "tools").mkdir()
        shutil.copy(TOOLS / gate, root / "tools" / gate)
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        done = subprocess.run([sys.executable, str(root / "tools" / gate)], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def main():
    failures = 0
    for gate in sorted({gate for gate, _, _ in FAULTS}):
        code, output = run_gate(gate, CLEAN)
        if code != 0:
            failures += 1
            print(f"{gate} fails on a clean tree: {output}")
    for gate, name, text in FAULTS:
        code, output = run_gate(gate, {**CLEAN, name: text})
        if code == 0:
            failures += 1
            print(f"{gate} let a fault in {name} pass: {text[:60]!r}")
        elif code != 1:
            failures += 1
            print(f"{gate} broke on {name}: {output[-300:]}")
    passed = len(FAULTS) + len({g for g, _, _ in FAULTS}) - failures
    print(f"{passed} passed, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
