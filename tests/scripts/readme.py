#!/usr/bin/env python3
"""README's Python and Rust sections, run as a new user would: at most five lines from install to a compressed tiny-llama.

usage: readme.py SOURCE BUILD WORK Python|Rust     (WORK is a scratch folder; its old contents are removed). Exits with 77 when a tool is missing.

The user is in the checkout, has built it, and may install for the whole system: `sudo` installs into WORK/prefix, where the loader and pkg-config look.
"""
import os, re, shutil, subprocess, sys

source, build, work = map(os.path.abspath, sys.argv[1:4])
language = sys.argv[4]


def missing(what):
    print(f"skipped: {what}")
    sys.exit(77)


def script(name, text):
    path = os.path.join(work, "bin", name)
    with open(path, "w") as file:
        file.write("#!/bin/sh\n" + text + "\n")
    os.chmod(path, 0o755)


def section(name):
    text = open(os.path.join(source, "README.md"), encoding="utf-8").read()
    body = re.search(rf"^### {name}\n(.*?)(?=^##)", text, re.M | re.S)[1]
    return re.findall(r"^```(\w+)\n(.*?)^```", body, re.M | re.S)


# The checkout, with files of its own where the commands write.
shutil.rmtree(work, ignore_errors=True)
checkout, prefix = os.path.join(work, "llmc"), os.path.join(work, "prefix")
os.makedirs(os.path.join(work, "bin"))
os.makedirs(os.path.join(checkout, "build"))
for name in set(os.listdir(source)) - {"build", "bindings", ".git"}:
    os.symlink(os.path.join(source, name), os.path.join(checkout, name))
os.symlink(build, os.path.join(checkout, "build/release"))
shutil.copytree(
    os.path.join(source, "bindings"),
    os.path.join(checkout, "bindings"),
    ignore=shutil.ignore_patterns("build", "target", "*.egg-info", "__pycache__"),
)

environment = {
    **os.environ,
    "PATH": os.path.join(work, "bin") + ":" + os.environ["PATH"] + ":" + os.path.expanduser("~/.cargo/bin"),
    "CARGO_NET_OFFLINE": "true",
    "PKG_CONFIG_PATH": prefix + "/lib/pkgconfig",
    "LD_LIBRARY_PATH": prefix + "/lib",
}
for name in ("LLMC_LIBRARY", "LLMC_LIB_DIR", "PYTHONPATH", "CARGO_TARGET_DIR"):
    environment.pop(name, None)
script("sudo", f'case "$1" in ldconfig) ;; cmake) exec "$@" --prefix {prefix} ;; *) exit 1 ;; esac')
if language == "Python":
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        missing("pip is not there (Debian: python3-pip)")
    # An environment of the user's, made from what this machine has.
    subprocess.run(
        [sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", os.path.join(work, "env")],
        check=True,
    )
    script("python", f'exec {work}/env/bin/python "$@"')
    script("pip", f'exec {work}/env/bin/python -m pip "$@"')
    if (
        subprocess.run([sys.executable, "-c", "import setuptools, wheel"], capture_output=True).returncode
        == 0
    ):
        environment["PIP_NO_BUILD_ISOLATION"] = "0"  # pip's way to say: no isolation
    if os.path.realpath(build) != os.path.realpath(os.path.join(source, "build/release")):
        environment["LLMC_LIBRARY"] = os.path.join(build, "libllmc.so")
elif not shutil.which("cargo", path=environment["PATH"]):
    missing("cargo is not there")

fences = section(language)
lines = [
    line
    for _, text in fences
    for line in text.splitlines()
    if line.strip() and not line.startswith(("#", "//"))
]
if not 2 <= len(lines) <= 5:
    sys.exit(f"README's {language} section takes {len(lines)} lines, wanted at most 5")
commands = ["set -e"]
for kind, text in fences:
    if kind == "sh":
        commands.append(text)
    elif kind == "python":
        commands.append(f"python - <<'END_OF_PYTHON'\n{text}END_OF_PYTHON")
    elif kind == "rust":
        commands.append(f"cat > src/main.rs <<'END_OF_RUST'\n{text}END_OF_RUST")
    else:
        sys.exit(f"README's {language} section has a block of {kind}")
done = subprocess.run(
    ["bash", "-c", "\n".join(commands)],
    cwd=checkout,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
)
if done.returncode:
    sys.exit(f"{done.stdout}\nREADME's {language} section failed")
verified = subprocess.run(
    [
        os.path.join(build, "llmc"),
        "verify",
        os.path.join(checkout, "tiny-llama-W4A16"),
        "--against",
        os.path.join(source, "examples/tiny-llama"),
    ],
    capture_output=True,
    text=True,
)
if verified.returncode:
    sys.exit(verified.stdout + verified.stderr)
print(f"{language}: {len(lines)} lines, {verified.stdout.strip().splitlines()[-1]}")
if language == "Python":
    wheel = subprocess.run(
        [
            f"{work}/env/bin/python",
            "-c",
            "import llmc, os; f = os.path.dirname(llmc.__file__); print(f, sorted(os.listdir(f + '/lib')))",
        ],
        capture_output=True,
        text=True,
        cwd=work,
        env={k: v for k, v in environment.items() if k != "LLMC_LIBRARY"},
    )
    if work not in wheel.stdout or "libllmc.so.0" not in wheel.stdout:
        sys.exit(f"the installed package does not carry the library: {wheel.stdout}{wheel.stderr}")
    print(wheel.stdout.strip())
