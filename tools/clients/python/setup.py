"""Adds to the build what pyproject.toml cannot say: messages and stubs are generated from the .proto file, so none are kept."""
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
NAME = "foregate/v1/inference.proto"


def proto_folder():
    """Of a source distribution, or of the repository."""
    for folder in (HERE / "proto", HERE.parents[2] / "proto"):
        if (folder / NAME).is_file():
            return folder
    raise FileNotFoundError(f"{NAME} lies neither in {HERE / 'proto'} nor in the repository's proto")


class BuildWithStubs(build_py):
    def run(self):
        super().run()
        folder, out = proto_folder(), Path(self.build_lib)
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--python_out={out}", f"--pyi_out={out}",
                        f"--grpc_python_out={out}", NAME], check=True)


class SourceWithProto(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        target = Path(base_dir) / "proto" / NAME
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(proto_folder() / NAME, target)


setup(cmdclass={"build_py": BuildWithStubs, "sdist": SourceWithProto})
