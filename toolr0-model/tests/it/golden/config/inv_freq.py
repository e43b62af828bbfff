"""Rotary frequencies of transformers' `_compute_default_rope_parameters` and `_compute_llama3_parameters`,
written out in plain Python with every operation rounded to float32.

Python 3, standard library only.   python inv_freq.py > inv_freq.json
"""
import json
import math
import struct


def f(x):
    """x as a float32"""
    return struct.unpack("f", struct.pack("f", x))[0]


def default(theta, d):
    return [f(1.0 / f(theta ** f(2 * i / d))) for i in range(d // 2)]


def llama3(theta, d, factor, low, high, context):
    out = []
    for x in default(theta, d):
        wavelength = f(f(2 * math.pi) / x)
        if wavelength > context / low:
            y = f(x / factor)
        elif wavelength < context / high:
            y = x
        else:
            smooth = f(f(f(context / wavelength) - low) / (high - low))
            y = f(f(f(f(1 - smooth) * x) / factor) + f(smooth * x))
        out.append(y)
    return out


cases = []
for theta, d in [(10000.0, 16), (1000000.0, 64), (1000000.0, 128), (100000.0, 64)]:
    cases.append({"theta": theta, "d": d, "scaling": None, "inv_freq": default(theta, d)})
for theta, d, factor, low, high, context in [
    (500000.0, 16, 32.0, 1.0, 4.0, 128),
    (500000.0, 64, 32.0, 1.0, 4.0, 8192),  # Llama-3.2-1B
    (500000.0, 128, 8.0, 1.0, 4.0, 8192),  # Llama-3.1-8B
]:
    scaling = {"factor": factor, "low": low, "high": high, "context": context}
    cases.append({"theta": theta, "d": d, "scaling": scaling, "inv_freq": llama3(theta, d, factor, low, high, context)})
print(json.dumps({"format": 1, "cases": cases}))
