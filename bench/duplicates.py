"""Seconds of the near-duplicate search for growing numbers of photos, and how many planted copies it finds.

    python bench/duplicates.py [--sizes 1000,10000,100000] [--planted 0.05]

The thumbnails are drawn: noise with amplitude 1 / f ** 1.7, different for each photo. It is smoother than photos are,
so that at least as many of them as of real photos (3 each among 3,900) resemble each other at first sight. A fifth are
look-alikes, mixed with another photo, so that many (of real photos 0.4 each) still do so at the second. A share
has a copy planted: as it is or cropped by up to 10 % a side, every fifth mirrored, brighter or darker with another
contrast and gamma, with noise as of JPEG. Prints a Markdown table: beside seconds the CPU seconds of the process, which
other programs on the machine disturb less; the exponent is that of the photos' number in CPU seconds since the size
before (1 linear, 2 quadratic).
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import time

import numpy as np
from numpy.typing import NDArray

from allmasked.data.duplicates import THUMBNAIL_PX, Descriptor, near_duplicates


def thumbnails(count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(count, 128, 128) uint8 of smooth noise, mean near 128, standard deviation near 50; every fifth a look-alike."""
    n = THUMBNAIL_PX
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None])
    frequency[0, 0] = np.inf
    amplitude = (frequency**-1.7).astype(np.float32)
    out = np.empty((count, n, n), np.uint8)
    for start in range(0, count, 500):
        noise = rng.standard_normal((min(500, count - start), n, n // 2 + 1, 2), np.float32).view(np.complex64)[..., 0]
        block = np.fft.irfft2(noise * amplitude, s=(n, n))
        block /= block.std(axis=(1, 2), keepdims=True)
        other = rng.integers(0, start, len(block[4::5])) if start else np.arange(len(block[4::5]))
        known = out[other] if start else block[other] * 50 + 128
        block[4::5] = 0.8 * (known - 128.0) / 50 + 0.6 * block[4::5]
        out[start : start + len(block)] = (block * 50 + 128).clip(0, 255)
    return out


def copy_of(thumbnail: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The thumbnail cropped (half of them), mirrored (every fifth), brighter or darker, and noisier."""
    import cv2

    left, top, right, bottom = (rng.uniform(0, 0.1, 4) * THUMBNAIL_PX * rng.integers(2)).round().astype(int)
    part = thumbnail[top : THUMBNAIL_PX - bottom, left : THUMBNAIL_PX - right]
    if rng.random() < 0.2:
        part = np.ascontiguousarray(part[:, ::-1])
    out = cv2.resize(part, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    out = 255 * (out / 255) ** rng.uniform(0.8, 1.25) * rng.uniform(0.85, 1.15) + rng.uniform(-15, 15)
    return np.asarray((out + rng.normal(0, 2, out.shape)).clip(0, 255).astype(np.uint8))


def measure(count: int, planted: float, seed: int) -> tuple[float, float, float, int]:
    """Seconds, CPU seconds, share of the planted pairs that was found, and the number of other pairs."""
    rng = np.random.default_rng(seed)
    copies = int(count * planted)
    drawn = thumbnails(count - copies, rng)
    of = rng.choice(count - copies, copies, replace=False)
    images = [*drawn, *(copy_of(drawn[index], rng) for index in of)]
    descriptors = [
        Descriptor(hashlib.sha256(str(number).encode()).hexdigest(), 800 if number < len(drawn) else 640, 600, image)
        for number, image in enumerate(images)
    ]
    start, start_cpu = time.perf_counter(), time.process_time()
    pairs = near_duplicates(descriptors)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    wanted = {(int(index), count - copies + number) for number, index in enumerate(of)}
    found = {(pair.a, pair.b) for pair in pairs if pair.kind != "scene"}
    return seconds, cpu_seconds, len(wanted & found) / max(1, len(wanted)), len(found - wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--planted", type=float, default=0.05, help="share of the photos that are copies")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = (
        "photos",
        "seconds",
        "CPU seconds",
        "CPU ms a photo",
        "exponent",
        "copies found",
        "other pairs",
    )
    print(f"| {' | '.join((*names, 'peak MB'))} |\n|{' ---: |' * (len(names) + 1)}")
    before = (0, 0.0)
    for count in map(int, options.sizes.split(",")):
        seconds, cpu_seconds, found, other = measure(count, options.planted, options.seed)
        exponent = f"{np.log(cpu_seconds / before[1]) / np.log(count / before[0]):.2f}" if before[0] else ""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cells = [f"{count:,}", f"{seconds:.1f}", f"{cpu_seconds:.1f}", f"{1000 * cpu_seconds / count:.2f}"]
        cells += [exponent, f"{found:.1%}", f"{other:,}", f"{peak:,.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
        before = (count, cpu_seconds)


if __name__ == "__main__":
    main()
