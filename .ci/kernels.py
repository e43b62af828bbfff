#!/usr/bin/env python3
"""Compiles every CUDA kernel with NVRTC for the cards it is written for, and fails on what a reviewer would reject.

    .ci/kernels.py            no GPU, no driver and no toolkit is needed: the compiler comes from pip

The compiler is the PyPI package `nvidia-cuda-nvrtc`; it is installed into `target/nvrtc` if it is not there yet. What
fails: an error, a warning, a register that is spilled, a byte of local memory. Where the package cannot be had the
script says so and passes, unless TOOLR0_REQUIRE_NVRTC=1.
"""

import ctypes
import os
import pathlib
import re
import subprocess
import sys

PACKAGE = "nvidia-cuda-nvrtc==13.0.88"
ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]
ROOT = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ROOT / "toolr0-rl/src/kernels/cuda"
SITE = ROOT / "target/nvrtc"


def installed():
    """The library, installed if need be; None where there is none to be had."""
    find = lambda: next(iter(sorted(SITE.glob("nvidia/**/libnvrtc.so.*"))), None)
    if find() is None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(SITE), PACKAGE]
        if subprocess.run(command).returncode != 0:
            return None
    return find()


class Nvrtc:
    """The part of NVRTC's interface that is needed here."""

    def __init__(self, path):
        # NVRTC opens this one by its bare name, which finds what is loaded already.
        for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins))
        self.lib = ctypes.CDLL(str(path))

    def check(self, code, what):
        if code != 0:
            self.lib.nvrtcGetErrorString.restype = ctypes.c_char_p
            raise RuntimeError(f"{what}: {self.lib.nvrtcGetErrorString(code).decode()}")

    def compile(self, source, name, options):
        """Whether it compiled, and the log."""
        program = ctypes.c_void_p()
        create = self.lib.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), name.encode(), 0, None, None
        )
        self.check(create, "nvrtcCreateProgram")
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        code = self.lib.nvrtcCompileProgram(program, len(options), array)
        size = ctypes.c_size_t()
        self.check(self.lib.nvrtcGetProgramLogSize(program, ctypes.byref(size)), "nvrtcGetProgramLogSize")
        log = ctypes.create_string_buffer(size.value)
        self.check(self.lib.nvrtcGetProgramLog(program, log), "nvrtcGetProgramLog")
        self.check(self.lib.nvrtcDestroyProgram(ctypes.byref(program)), "nvrtcDestroyProgram")
        return code == 0, log.value.decode()


def faults(log, kernels):
    """What in the log of a compilation is not acceptable."""
    found = [line for line in log.splitlines() if "warning" in line.lower() or "error" in line.lower()]
    for line in log.splitlines():
        for count, what in re.findall(r"(\d+) bytes (stack frame|spill stores|spill loads|lmem)", line):
            if int(count) != 0:
                found.append(f"{count} bytes of {what}: {line.strip()}")
    # A log without these lines would say nothing of spills: that must not pass for good news.
    told = len(re.findall(r"Used \d+ registers", log))
    if told != kernels:
        found.append(f"the log tells of {told} kernels, the source has {kernels}")
    return found


def main():
    path = installed()
    if path is None:
        print(f"skipped: {PACKAGE} cannot be installed here, so no kernel was compiled for a device")
        return int(os.environ.get("TOOLR0_REQUIRE_NVRTC") == "1")
    nvrtc = Nvrtc(path)
    common = (KERNELS / "common.cuh").read_text()
    options = (KERNELS / "options.txt").read_text().split()
    failed = False
    for source in sorted(KERNELS.glob("*.cu")):
        text = source.read_text()
        # Kernels are written out, or one to each use of the file's macro.
        macros = re.findall(r"#define ([A-Z_0-9]+)\(NAME", text)
        kernels = sum(len(re.findall(rf"^{macro}\(", text, re.M)) for macro in macros)
        kernels += len(re.findall(r'^extern "C" __global__', text, re.M))
        for architecture in ARCHITECTURES:
            extra = [f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
            done, log = nvrtc.compile(common + text, source.name, options + extra)
            found = faults(log, kernels) if done else [log]
            registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
            state = "FAILED" if found else "ok"
            print(f"{source.name:22} {architecture:7} {kernels} kernels, up to {max(registers, default=0)} registers: {state}")
            for line in found:
                print(f"    {line}")
            failed |= bool(found)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
