#!/usr/bin/env python3
"""What a stranger's folder says reaches no terminal as control characters. usage: terminal.py SOURCE LLMC

Names of tensors and keys of config.json are anybody's: tables and JSON show them escaped.
"""
import json, os, re, shutil, subprocess, sys, tempfile

SOURCE, LLMC = sys.argv[1], sys.argv[2]
GOLDEN = os.path.join(SOURCE, "tests/golden/rtn/W4A16")
work = tempfile.mkdtemp(prefix="llmc-terminal-")
failures = 0
try:
    evil = os.path.join(work, "evil")
    shutil.copytree(GOLDEN, evil)
    [weights] = [n for n in os.listdir(evil) if n.endswith(".safetensors")]
    raw = open(os.path.join(evil, weights), "rb").read()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    some = next(n for n in header if n.endswith("layernorm.weight"))
    header["x\u001b]0;owned\u0007\u009b2J\u007f\nsound: 0 faults.weight_scale"] = header.pop(some)
    text = json.dumps(header).encode()
    with open(os.path.join(evil, weights), "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + raw[8 + size :])
    config = json.load(open(evil + "/config.json"))
    config["\u001b[2Jkey"] = "\u009b2J"
    json.dump(config, open(evil + "/config.json", "w"))
    for arguments in (
        ["inspect", evil],
        ["verify", evil],
        ["diff", GOLDEN, evil],
        ["inspect", evil, "--json"],
        ["verify", evil, "--json"],
        ["diff", GOLDEN, evil, "--json"],
    ):
        r = subprocess.run([LLMC, *arguments], capture_output=True, text=True, timeout=300)
        shown = r.stdout + r.stderr
        ok = (
            "owned" in shown
            and "\nsound: 0" not in shown
            and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)
        )
        print("ok   " if ok else "FAIL ", " ".join(arguments), "" if ok else repr(shown[-600:]))
        failures += not ok
finally:
    shutil.rmtree(work, ignore_errors=True)
print(f"{failures} failures")
sys.exit(bool(failures))
