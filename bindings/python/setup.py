"""A wheel that carries libllmc.so: the one LLMC_LIBRARY names, or else built here by CMake (build/release of the checkout)."""
import os
import re
import shutil
import subprocess

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel  # setuptools before 70.1

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
SYSTEM = re.compile(
    r"(libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+)\.so\.\d+$"
)  # every Linux with Python has them


def built_library():
    if not os.path.exists(os.path.join(ROOT, "build/release/build.ninja")):
        subprocess.run(["cmake", "--preset", "release", "-DLLMC_TESTS=OFF"], cwd=ROOT, check=True)
    subprocess.run(["cmake", "--build", "--preset", "release", "--target", "llmc"], cwd=ROOT, check=True)
    return os.path.join(ROOT, "build/release/libllmc.so")


class Build(build_py):
    def run(self):
        super().run()
        package = os.path.join(self.build_lib, "llmc")
        folder = os.path.join(package, "lib")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        library = os.environ.get("LLMC_LIBRARY") or built_library()
        ours = os.path.join(folder, "libllmc.so.0")
        shutil.copyfile(library, ours)
        if shutil.which("strip"):
            subprocess.run(["strip", "--strip-unneeded", ours], check=True)
        for name, path in re.findall(
            r"(\S+) => (/\S+)",
            subprocess.run(["ldd", library], check=True, capture_output=True, text=True).stdout,
        ):
            if not SYSTEM.match(name):
                shutil.copyfile(path, os.path.join(folder, name))
        for name in ("LICENSE", "THIRD_PARTY.md"):
            shutil.copyfile(os.path.join(ROOT, name), os.path.join(package, name))


class Binary(Distribution):
    def has_ext_modules(self):
        return True  # the wheel holds machine code


class Wheel(bdist_wheel):
    def get_tag(self):
        return "py3", "none", super().get_tag()[2]  # for any Python 3 of this platform


version = re.search(r"project\(llmc VERSION (\S+)", open(os.path.join(ROOT, "CMakeLists.txt")).read())[1]
setup(version=version, distclass=Binary, cmdclass={"build_py": Build, "bdist_wheel": Wheel})
