#!/usr/bin/env python3
"""Ctrl-C and SIGTERM while the llmc command reads a data set. usage: interrupts.py SOURCE LLMC

The first cancels: exit code 130, one line, nothing left. A second ends the process at once.
"""
import os, shutil, signal, subprocess, sys, tempfile, time

SOURCE, LLMC = sys.argv[1], sys.argv[2]
TINY = os.path.join(SOURCE, "examples/tiny-llama")
# About a second for each row: no row ends before a signal that was sent has come.
TEMPLATE = (
    "{% for i in range(3000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}{{ messages | length }}"
)
ROW = '{"messages": [{"role": "user", "content": "a"}]}\n'


def wait_for_work(child):
    """Until it has worked a fifth of a second: then it renders the first row."""
    while child.poll() is None:
        with open(f"/proc/{child.pid}/stat") as stat:
            if int(stat.read().rsplit(")", 1)[1].split()[11]) >= os.sysconf("SC_CLK_TCK") / 5:
                return
        time.sleep(0.01)


def wait_until(child, number, caught):
    """Until the process catches the signal, or no longer does."""
    while child.poll() is None:
        with open(f"/proc/{child.pid}/status") as status:
            mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
        if bool(mask >> (number - 1) & 1) == caught:
            return
        time.sleep(0.01)


def ended(work, signals):
    output = os.path.join(work, "out")
    arguments = ["--model", work + "/model", "--recipe", TINY + "/recipes/w4a16.yaml"]
    arguments += ["--dataset", work + "/rows.jsonl", "--threads", "1", "--output", output]
    child = subprocess.Popen([LLMC, "oneshot", *arguments], stderr=subprocess.PIPE, text=True)
    wait_for_work(child)
    for index, number in enumerate(signals):
        wait_until(child, number, caught=index == 0)
        child.send_signal(number)
    said = child.communicate(timeout=120)[1].splitlines()
    return child.returncode, said, os.path.exists(output)


failures = 0
with tempfile.TemporaryDirectory(prefix="llmc-interrupts-") as work:
    shutil.copytree(TINY, work + "/model")
    for name, text in (("model/chat_template.jinja", TEMPLATE), ("rows.jsonl", ROW * 500)):
        with open(os.path.join(work, name), "w") as f:
            f.write(text)
    cancelled = (130, ["llmc: dataset: cancelled"], False)
    for name, signals, wanted in (
        ("Ctrl-C cancels", [signal.SIGINT], cancelled),
        ("SIGTERM cancels", [signal.SIGTERM], cancelled),
        ("a second Ctrl-C ends the process", [signal.SIGINT] * 2, (-signal.SIGINT, [], False)),
        ("SIGTERM after Ctrl-C ends it too", [signal.SIGINT, signal.SIGTERM], (-signal.SIGTERM, [], False)),
    ):
        got = ended(work, signals)
        print(("ok    " if got == wanted else "FAIL  ") + name, "" if got == wanted else got)
        failures += got != wanted
print(f"{failures} failures")
sys.exit(bool(failures))
