#!/usr/bin/env python3
"""Writes the declarations of capi/*.h for Rust (src/sys.rs) and Python (_abi.py). usage: generate.py [--check]

The headers are the only source: names, types and constants are read from their text; sizes and offsets come from the C compiler ($CC or cc), so that
what is checked in cannot differ from what C sees. --check writes nothing and fails when a checked-in file is not what the headers say (a test).
"""
import os, re, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
CAPI = os.path.join(HERE, "..", "capi")
HEADERS = sorted(name for name in os.listdir(CAPI) if name.endswith(".h"))  # llmc.h is the first
RUST, PYTHON = os.path.join(HERE, "rust/llmc/src/sys.rs"), os.path.join(HERE, "python/llmc/_abi.py")

SCALARS = {  # C -> Rust, ctypes
    "int8_t": ("i8", "c_int8"),
    "int16_t": ("i16", "c_int16"),
    "int32_t": ("i32", "c_int32"),
    "int64_t": ("i64", "c_int64"),
    "uint8_t": ("u8", "c_uint8"),
    "uint16_t": ("u16", "c_uint16"),
    "uint32_t": ("u32", "c_uint32"),
    "uint64_t": ("u64", "c_uint64"),
    "float": ("f32", "c_float"),
    "double": ("f64", "c_double"),
    "size_t": ("usize", "c_size_t"),
    "char": ("c_char", "c_char"),
    "void": ("c_void", "None"),
}


class Interface:
    """What the headers declare, in their order."""

    def __init__(self, texts):
        self.constants, self.aliases, self.opaque = {}, {}, []
        self.structs, self.callbacks, self.functions = {}, {}, {}
        for text in texts:
            self.read(re.sub(r"/\*.*?\*/", "", text, flags=re.S))
        self.opaque = [name for name in dict.fromkeys(self.opaque) if name not in self.structs]

    def read(self, text):
        for name, value in re.findall(r"^#define (LLMC_\w+) (\S+)\s*$", text, re.M):
            if name not in ("LLMC_API",):
                self.constants[name] = int(value.rstrip("u"), 0)
        text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
        for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text, re.S):
            self.structs[name] = [declaration(field) for field in body.split(";") if field.strip()]
        self.opaque += re.findall(r"typedef struct (\w+) \1;", text)
        for result, name, parameters in re.findall(
            r"typedef ([\w \*]+?)\s*\(\*(\w+)\)\((.*?)\);", text, re.S
        ):
            self.callbacks[name] = (declaration(result + " result"), parameter_list(parameters))
        for type_name, name in re.findall(r"typedef (\w+) (\w+);", text):
            self.aliases[name] = type_name
        for result, name, parameters in re.findall(
            r"LLMC_API\s+([\w \*]+?)\s*\b(llmc_\w+)\((.*?)\);", text, re.S
        ):
            self.functions[name] = (declaration(result + " result"), parameter_list(parameters))


def declaration(text):
    """'const char *name[4]' -> (name, base type, [constness of what each * points to, innermost first], array length or None)"""
    match = re.fullmatch(
        r"\s*(const\s+)?(?:struct\s+)?(\w+)\s*((?:\*\s*(?:const\b\s*)?)*)(\w+)(?:\[(\w+)\])?\s*", text
    )
    if not match:
        raise SystemExit(f"generate.py: cannot read the declaration {text!r}")
    const, base, stars, name, length = match.groups()
    pointee_const, levels = bool(const), []
    for star in re.findall(r"\*\s*(const)?", stars):
        levels.append(pointee_const)
        pointee_const = bool(star)
    return name, base, levels, length


def parameter_list(text):
    return [] if text.strip() in ("", "void") else [declaration(p) for p in text.split(",")]


def layouts(interface):
    """{struct: (size, alignment, {field: offset})}, from the C compiler."""
    lines = (
        ["#include <stdio.h>", "#include <stddef.h>"]
        + [f'#include "{header}"' for header in HEADERS]
        + ["int main(void) {"]
    )
    for name, fields in interface.structs.items():
        lines.append(f'printf("{name} %zu %zu\\n", sizeof({name}), _Alignof({name}));')
        lines += [f'printf("{name}.{field[0]} %zu\\n", offsetof({name}, {field[0]}));' for field in fields]
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "layout.c"), os.path.join(folder, "layout")
        with open(source, "w") as file:
            file.write("\n".join(lines + ["return 0; }"]))
        subprocess.run(
            [os.environ.get("CC", "cc"), "-std=c11", "-I", CAPI, source, "-o", program], check=True
        )
        output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    found = {}
    for words in map(str.split, output.splitlines()):
        struct, _, field = words[0].partition(".")
        if field:
            found[struct][2][field] = int(words[1])
        else:
            found[struct] = (int(words[1]), int(words[2]), {})
    return found


# ---- Rust ----


def rust_type(parsed):
    _, base, levels, length = parsed
    text = SCALARS.get(base, (base,))[0]
    for const in levels:
        text = f"*{'const' if const else 'mut'} {text}"
    return f"[{text}; {length}]" if length else text


RUST_KEYWORDS = set("as dyn fn impl in loop match mod move mut ref type use where".split())


def rust_name(name):
    return "r#" + name if name in RUST_KEYWORDS else name


def rust_signature(result, parameters):
    text = ", ".join(f"{rust_name(p[0])}: {rust_type(p)}" for p in parameters)
    return f"({text})" + ("" if rust_type(result) == "c_void" else f" -> {rust_type(result)}")


def rust_source(interface, sizes):
    out = [
        "//! The C interface as it is: generated from capi/*.h by bindings/generate.py, do not edit. The headers are its manual.",
        "#![allow(non_camel_case_types, missing_docs, dead_code)]",
        "#![cfg_attr(rustfmt, rustfmt_skip)]",
        "use std::ffi::{c_char, c_void};",
        "",
    ]
    out += [f"pub const {name}: i32 = {value};" for name, value in interface.constants.items()] + [""]
    out += [f"pub type {name} = {SCALARS[base][0]};" for name, base in interface.aliases.items()] + [""]
    for name in interface.opaque:
        out += ["#[repr(C)]", f"pub struct {name} {{", "    _private: [u8; 0],", "}", ""]
    for name, (result, parameters) in interface.callbacks.items():
        out += [f'pub type {name} = Option<unsafe extern "C" fn{rust_signature(result, parameters)}>;', ""]
    for name, fields in interface.structs.items():
        out += (
            ["#[repr(C)]", "#[derive(Clone, Copy, Debug)]", f"pub struct {name} {{"]
            + [f"    pub {rust_name(field[0])}: {rust_type(field)}," for field in fields]
            + ["}", ""]
        )
    out.append('extern "C" {')
    out += [
        f"    pub fn {name}{rust_signature(result, parameters)};"
        for name, (result, parameters) in interface.functions.items()
    ]
    out += [
        "}",
        "",
        "// What the C compiler says about the structs, on 64-bit machines.",
        '#[cfg(target_pointer_width = "64")]',
        "const _: () = {",
    ]
    for name, (size, alignment, offsets) in sizes.items():
        out.append(f"    assert!(size_of::<{name}>() == {size} && align_of::<{name}>() == {alignment});")
        out += [
            f"    assert!(std::mem::offset_of!({name}, {rust_name(field)}) == {offset});"
            for field, offset in offsets.items()
        ]
    return "\n".join(out + ["};", ""])


# ---- Python ----


def python_type(parsed, interface):
    _, base, levels, length = parsed
    depth = len(levels)
    base = interface.aliases.get(base, base)
    if base in interface.callbacks or (base in interface.structs and depth == 0):
        text = base
    elif depth and (base in interface.opaque or base == "void"):
        text, depth = "c_void_p", depth - 1
    elif depth and base == "char":
        text, depth = (
            "c_char_p" if levels[0] else "c_void_p"
        ), depth - 1  # char *: to be freed, so the address is kept
    elif base in interface.structs:
        text = base
    else:
        text = SCALARS[base][1]
    for _ in range(depth):
        text = f"POINTER({text})"
    return f"{text} * {length}" if length else text


def python_source(interface, sizes):
    out = [
        '"""The C interface as it is: generated from capi/*.h by bindings/generate.py, do not edit. The headers are its manual."""',
        "from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int8, c_int16, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p  # noqa: F401",
        "",
    ]
    out += [f"{name} = {value}" for name, value in interface.constants.items()] + [""]
    pending = {
        name: [python_type(p, interface) for p in [result] + parameters]
        for name, (result, parameters) in interface.callbacks.items()
    }

    def emit_callbacks(defined):
        for name in [
            n
            for n, types in pending.items()
            if not any(s in t for t in types for s in interface.structs if s not in defined)
        ]:
            out.extend([f"{name} = CFUNCTYPE({', '.join(pending.pop(name))})", ""])

    defined = set()
    emit_callbacks(defined)
    for name, fields in interface.structs.items():
        out += (
            ["", f"class {name}(Structure):", "    _fields_ = ["]
            + [f'        ("{field[0]}", {python_type(field, interface)}),' for field in fields]
            + ["    ]", ""]
        )
        defined.add(name)
        emit_callbacks(defined)
    out += ["", "# name: result, parameters", "FUNCTIONS = {"]
    for name, (result, parameters) in interface.functions.items():
        out.append(
            f'    "{name}": ({python_type(result, interface)}, [{", ".join(python_type(p, interface) for p in parameters)}]),'
        )
    out += ["}", "", "# What the C compiler says on 64-bit machines: size, {field: offset}", "LAYOUT = {"]
    out += [f"    {name}: ({size}, {offsets!r})," for name, (size, _, offsets) in sizes.items()]
    return "\n".join(out + ["}", ""])


def main():
    texts = [open(os.path.join(CAPI, header), encoding="utf-8").read() for header in HEADERS]
    interface = Interface(texts)
    declared = len(re.findall(r"^LLMC_API ", "\n".join(texts), re.M))
    if declared != len(interface.functions):
        raise SystemExit(
            f"generate.py: the headers declare {declared} functions, {len(interface.functions)} were read"
        )
    sizes = layouts(interface)
    for path, text in ((RUST, rust_source(interface, sizes)), (PYTHON, python_source(interface, sizes))):
        if "--check" not in sys.argv[1:]:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        elif not os.path.exists(path) or open(path, encoding="utf-8").read() != text:
            raise SystemExit(f"{os.path.relpath(path)} is not what the headers say: run bindings/generate.py")
    print(
        f"{len(interface.functions)} functions, {len(interface.structs)} structs, {len(interface.constants)} constants"
    )


if __name__ == "__main__":
    main()
