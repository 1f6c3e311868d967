#!/usr/bin/env python3
"""Every tool that scripts and tests call comes with a bare Debian or from a package that install_dependencies.sh installs.

usage: tools_listed.py SOURCE
A used machine has tools that a bare one lacks, so a missing package shows nowhere else but on a bare machine.
"""
import os, re, subprocess, sys

SOURCE = sys.argv[1]
SHELL = set(
    """. : [ alias bg break builtin case cd command continue declare do done echo elif else env esac eval exec exit export
    false fi for function getopts hash if in local mapfile printf pwd read readonly return set shift source test then time
    trap true type ulimit umask unset until wait while""".split()
)
# Essential in Debian, or priority required: on every system (Debian Policy 3.8), also with debootstrap's minbase.
BARE = set(
    """awk basename bash cat chmod chown chroot cksum cmp comm cp cut date dd df diff dirname dpkg dpkg-deb dpkg-query du
    egrep expand find fold grep gunzip gzip head hostname id install kill ln ls md5sum mkdir mktemp mount mv nice nl nproc od
    paste ps readlink realpath rm rmdir sed seq sh sha256sum sleep sort split stat sum sync tail tar tee timeout touch tr
    truncate umount uname uniq wc xargs zcat apt-get flock""".split()
)
# Packages of the lists bring these: tool -> package.
BROUGHT = {
    "doxygen": "doxygen",
    "g++": "g++", "gcc": "g++", "cc": "g++", "c++": "g++", "ld": "binutils", "nm": "binutils", "readelf": "binutils",
    "ldd": "libc-bin (required)", "objdump": "binutils", "strip": "binutils", "c++filt": "binutils", "cmake": "cmake", "ctest": "cmake",
    "cpack": "cmake", "ninja": "ninja-build", "pkg-config": "pkg-config", "abidiff": "abigail-tools",
    "abidw": "abigail-tools", "python3": "python3", "pip": "python3-pip", "pip3": "python3-pip", "git": "git",
    "dpkg-shlibdeps": "dpkg-dev", "file": "file", "clang-format-16": "clang-format-16", "black": "black",
    "cargo": "cargo-web", "rustc": "rustc-web", "rustfmt": "rustfmt-web",
}  # fmt: skip
# What a called tool calls in turn.
CALLS = {
    "cpack": ["file", "dpkg-shlibdeps", "strip"],
    "abidw": [],
    "cmake": ["ninja", "g++"],
    "cargo": ["rustc", "cc"],
}
# Scripts that are run by hand on machines that have more (docs/testing.md says which), and look for it themselves.
BY_HAND = {
    "scripts/check_gpu.sh", "scripts/try_fresh_debian.sh", "scripts/fetch_cuda.sh", "scripts/compile_cuda.sh",
    "scripts/freeze_abi.sh", "scripts/fuzz.sh", "scripts/tidy.sh",
}  # fmt: skip


def commands_of_shell(text):
    """The first words of commands: a rough reader that knows quotes, comments, here-documents and functions."""
    text = re.sub(r"<<-?\s*'?(\w+)'?.*?\n.*?^\s*\1$", "\n", text, flags=re.S | re.M)
    text = re.sub(r"(^|\s)#[^\n]*", r"\1", text)
    text = text.replace("\\\n", " ")
    functions = set(re.findall(r"^\s*(\w+)\(\)\s*\{", text, re.M))
    text = re.sub(r"\w+\+?=\((?:[^()]|\([^()]*\))*\)", "", text)  # arrays
    text = re.sub(r"'[^'\n]*'", "Q", text)
    inner = []
    for _ in range(4):  # what stands in $( ) and "$( )"
        inner += re.findall(r"\$\(([^()]*)\)", text)
        text = re.sub(r"\$\([^()]*\)", "Q", text)
    text = re.sub(r'"(?:\\.|[^"\\])*"', "Q", text)
    found = set()
    for part in [text] + inner:
        part = re.sub(r'"(?:\\.|[^"\\])*"', "Q", part)
        part = re.sub(r"\bcase\b.*?\besac\b", "", part, flags=re.S)
        for command in re.split(
            r"\|\||&&|[|;&\n(){}]|\bthen\b|\bdo\b|\belse\b|\bif\b|\bwhile\b|\belif\b", part
        ):
            words = command.split()
            while words and (
                re.match(r"^\w+=", words[0]) or words[0] in ("!", "exec", "env", "time", "nice", "quiet")
            ):
                words = words[1:]
            if words and re.fullmatch(r"[a-z][a-z0-9_+.-]*", words[0]) and words[0] not in functions:
                found.add(words[0])
    return found


def commands_of_python(text):
    found = set(re.findall(r"(?:run|Popen|check_output|check_call)\(\s*\[\s*\"([a-z][\w+.-]*)\"", text))
    return found | set(re.findall(r"shutil\.which\(\"([\w+.-]+)\"\)", text))


installed = open(os.path.join(SOURCE, "scripts/install_dependencies.sh"), encoding="utf-8").read()
packages = {word.split(":")[0] for word in re.findall(r"[a-z][a-z0-9+.-]*(?::[a-z0-9+.-]+)?", installed)}
tracked = subprocess.run(["git", "-C", SOURCE, "ls-files"], capture_output=True, text=True).stdout.split()
faults, calls = [], {}
for name in tracked or sys.exit("tools_listed: git lists no files"):
    if name in BY_HAND or not re.match(r"(scripts|tests/scripts|\.ci)/", name):
        continue
    text = open(os.path.join(SOURCE, name), encoding="utf-8").read()
    is_python = name.endswith(".py")
    for tool in commands_of_python(text) if is_python else commands_of_shell(text):
        calls.setdefault(tool, set()).add(name)
for tool in list(calls):
    for other in CALLS.get(tool, []):
        calls.setdefault(other, set()).update(f"{name} ({tool})" for name in calls[tool])
for tool, places in sorted(calls.items()):
    if tool in SHELL or tool in BARE:
        continue
    package = BROUGHT.get(tool)
    if package is None:
        faults.append(f"{', '.join(sorted(places))}: call '{tool}': no package is known that brings it")
    elif package not in packages and "(required)" not in package:
        faults.append(f"{', '.join(sorted(places))}: call '{tool}' of {package}, which is not installed")
for fault in faults:
    print(fault)
print(f"{len(calls)} tools called, {len(faults)} of them from nowhere")
sys.exit(bool(faults))
