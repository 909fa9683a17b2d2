"""Seconds of the near-duplicate search for growing numbers of photos, and how many planted copies it finds.

    python bench/duplicates.py [--sizes 1000,10000,100000] [--planted 0.05]

The thumbnails are drawn: noise with amplitude 1 / f ** 1.6, different for each photo. It is smoother than photos are,
so that as many of them as of real photos (two or three candidates each among 2,000) resemble each other at first sight.
A share of them has a copy planted: cropped by up to 10 % a side, brightened, with noise as of JPEG. Prints a Markdown
table; growth is the factor in CPU seconds from one size to the next, beside what a quadratic search would grow by.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import time

import numpy as np
from numpy.typing import NDArray

from allmasked.duplicates import THUMBNAIL_PX, Descriptor, near_duplicates


def thumbnails(count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(count, 128, 128) uint8 of smooth noise, mean near 128, standard deviation near 50."""
    n = THUMBNAIL_PX
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None])
    frequency[0, 0] = np.inf
    out = np.empty((count, n, n), np.uint8)
    for start in range(0, count, 1000):
        noise = rng.standard_normal((min(1000, count - start), n, n), np.float32)
        block = np.fft.irfft2(np.fft.rfft2(noise) / frequency**1.6, s=(n, n))
        block *= 50 / block.std(axis=(1, 2), keepdims=True)
        out[start : start + len(block)] = (block + 128).clip(0, 255)
    return out


def copy_of(thumbnail: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The thumbnail with up to 10 % off each side, brighter or darker, and noisier."""
    import cv2

    left, top, right, bottom = (rng.uniform(0, 0.1, 4) * THUMBNAIL_PX).round().astype(int)
    part = thumbnail[top : THUMBNAIL_PX - bottom, left : THUMBNAIL_PX - right]
    out = cv2.resize(part, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    out = out * rng.uniform(0.8, 1.2) + rng.uniform(-15, 15) + rng.normal(0, 2, out.shape)
    return np.asarray(out.clip(0, 255).astype(np.uint8))


def measure(count: int, planted: float, seed: int) -> tuple[float, float, float, int]:
    """Seconds, CPU seconds, share of the planted pairs that was found, and the number of other pairs."""
    rng = np.random.default_rng(seed)
    copies = int(count * planted)
    drawn = thumbnails(count - copies, rng)
    of = rng.choice(count - copies, copies, replace=False)
    images = [*drawn, *(copy_of(drawn[index], rng) for index in of)]
    descriptors = [
        Descriptor(hashlib.sha256(str(number).encode()).hexdigest(), 800 + number % 7, 600, image)
        for number, image in enumerate(images)
    ]
    start, start_cpu = time.perf_counter(), time.process_time()
    pairs = near_duplicates(descriptors)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    wanted = {(int(index), count - copies + number) for number, index in enumerate(of)}
    found = {(pair.a, pair.b) for pair in pairs}
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
        "growth",
        "if quadratic",
        "copies found",
        "other pairs",
    )
    print(f"| {' | '.join((*names, 'peak MB'))} |\n|{' ---: |' * (len(names) + 1)}")
    before = (0, 0.0)
    for count in map(int, options.sizes.split(",")):
        seconds, cpu_seconds, found, other = measure(count, options.planted, options.seed)
        growth = f"{cpu_seconds / before[1]:.1f}" if before[0] else ""
        quadratic = f"{(count / before[0]) ** 2:.0f}" if before[0] else ""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cells = [f"{count:,}", f"{seconds:.1f}", f"{cpu_seconds:.1f}", f"{1000 * cpu_seconds / count:.2f}"]
        cells += [growth, quadratic, f"{found:.1%}", f"{other:,}", f"{peak:,.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)
        before = (count, cpu_seconds)


if __name__ == "__main__":
    main()
