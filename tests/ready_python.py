"""Virtual environments of tests that need packages of PyPI."""
import subprocess
import sys
import venv

SKIPPED = 77  # exit status by which ctest knows that nothing was tested


def has_packages(python, probe):
    return python.exists() and subprocess.run([python, "-c", probe], capture_output=True).returncode == 0


def ready_python(folder, requirements, probe):
    """The interpreter of the virtual environment in `folder`, made when it is not there, in which `probe` (imports) runs; or None,
    with the reason on stderr, when the packages of the file `requirements` cannot be had."""
    python = folder / "bin" / "python"
    if has_packages(python, probe):
        return python
    try:
        if not python.exists():
            venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements],
                       check=True, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no virtual environment: {error}", file=sys.stderr)
        return None
    return python if has_packages(python, probe) else None
