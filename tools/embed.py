#!/usr/bin/env python3
"""Puts files into the binary.

embed.py list FOLDER SUFFIX...    prints the files below FOLDER that end so, sorted
embed.py write OUT.c NAME=FOLDER... -- FILE...
                                  writes OUT.c with an array EMBEDDED_<NAME> for each folder, and
                                  the gzipped twin of each file beside it
See server/embedded.h. Bytes are taken in by .incbin inside C, so that a large file costs the
compiler nothing and the object keeps the compiler's own section notes.
"""
import gzip
import hashlib
import os
import sys


def list_files(folder, suffixes):
    found = []
    for top, folders, names in os.walk(folder):
        folders.sort()
        found += [os.path.join(top, name) for name in names if name.endswith(tuple(suffixes))]
    for path in sorted(found):
        print(path)


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def incbin(symbol, path):
    """Assembly that defines symbol as the file's bytes and a NUL."""
    lines = [".pushsection .rodata", ".balign 16", f".global {symbol}", f"{symbol}:",
             f".incbin {c_string(os.path.abspath(path))}", ".byte 0", ".popsection"]
    body = "\n".join("        " + c_string(line + "\n").replace("\n", "\\n") for line in lines)
    return f"extern const unsigned char {symbol}[];\n__asm__(\n{body});\n"


def write(out_path, folders, paths):
    out = ["/* written by tools/embed.py */\n", '#include "embedded.h"\n\n']
    for label, folder in folders:
        rows = []
        for path in sorted(p for p in paths if p.startswith(folder + os.sep)):
            name = os.path.relpath(path, folder)
            symbol = f"embedded_{label.lower()}_{len(rows)}"
            with open(path, "rb") as f:
                data = f.read()
            packed = gzip.compress(data, 9, mtime=0)
            out.append(incbin(symbol, path))
            if len(packed) < len(data):
                packed_path = f"{os.path.splitext(out_path)[0]}_{label.lower()}_{len(rows)}.gz"
                with open(packed_path, "wb") as f:
                    f.write(packed)
                out.append(incbin(symbol + "_gz", packed_path))
                packed_text = f"{symbol}_gz, {len(packed)}"
            else:
                packed_text = "NULL, 0"
            digest = hashlib.sha256(data).hexdigest()
            rows.append(f"    {{ {c_string(name)}, {symbol}, {len(data)}, {packed_text},\n"
                        f'      "{digest}" }},\n')
        out.append(f"const struct embedded_file EMBEDDED_{label}[] = {{\n{''.join(rows)}"
                   "    { NULL, NULL, 0, NULL, 0, NULL },\n};\n"
                   f"const size_t N_EMBEDDED_{label} = {len(rows)};\n\n")
    with open(out_path, "w") as f:
        f.write("".join(out))


def main():
    command, rest = sys.argv[1], sys.argv[2:]
    if command == "list":
        list_files(rest[0], rest[1:])
    else:
        split = rest.index("--")
        folders = [tuple(arg.split("=", 1)) for arg in rest[1:split]]
        folders = [(label, os.path.abspath(folder)) for label, folder in folders]
        write(rest[0], folders, [os.path.abspath(path) for path in rest[split + 1:]])


main()
