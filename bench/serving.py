"""Answers a second over HTTP beside the bare predictor, from photos as files.

    python bench/serving.py [--model FILE] [--photos 64] [--seconds 20] [--data FOLDER]

The bare predictor (decoding and network, as 'allmasked predict') answers the photos first and last; between them a
server on this machine answers 1, 4 and 16 clients that each send the next photo as soon as they have an answer. Prints
requests/s, p50 and p99, and the ratio to the bare predictor's photos/s; the clients' own work counts against the
server, they share the processors. Loopback only.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from allmasked.predictors.photo_files import find_photos
from allmasked.predictors.predictor import open_predictor, predict_paths


def drawn_photos(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """JPEGs of 1280 x 960 px: soft noise and discs, as heavy to decode as a photo."""
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)).resize((1280, 960))
        image = noise.filter(ImageFilter.GaussianBlur(2))
        pen = ImageDraw.Draw(image)
        for left, top in rng.integers(0, 800, (4, 2)):
            pen.ellipse((left, top, left + 130, top + 160), fill=(230, 190, 160))
        paths.append(folder / f"{number:03d}.jpg")
        image.save(paths[-1], quality=88)
    return paths


def people() -> list[bytes]:
    """16 JPEGs of 1280 x 960 px with people, all, some or none of them masked: what answers can be told apart by."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "allmasked", "synth", "drawn", f"{folder}/people", "--photos", "16"]
        subprocess.run([*command, "--size", "1280x960"], stdout=subprocess.DEVNULL, check=True)
        return [path.read_bytes() for path in sorted(Path(folder).rglob("*.jpg"), key=lambda path: path.name)]


@contextlib.contextmanager
def server(*options: str, port: int = 0) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server of its own on this machine, on a free port where none is given: the port, and the process."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "allmasked", "serve", "--port", str(port), *options],
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                break
        else:
            raise SystemExit("the server did not start")
        threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
        for _ in range(600):
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    break
            time.sleep(0.1)
        yield int(found[1]), process
    finally:
        process.terminate()
        process.wait(90)


def load(port: int, bodies: list[bytes], clients: int, seconds: float) -> list[float]:
    """Seconds of each answered request."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    def client(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        number = first
        while (started := time.perf_counter()) < until:
            connection.request("POST", "/v1/predict", bodies[number % len(bodies)], {"Content-Type": "image/jpeg"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status != 200:
                raise SystemExit(f"{response.status}: {answer['detail']}")
            times.append(time.perf_counter() - started)
            number += clients

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="default: the model that ships")
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--data", help="a folder of photos; default: drawn ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.data:
            paths = [Path(path) for _, path in find_photos([options.data])][: options.photos]
        else:
            paths = drawn_photos(Path(folder), options.photos)
        bodies = [path.read_bytes() for path in paths]
        predictor = open_predictor(options.model)

        def bare() -> float:
            count, started = 0, time.perf_counter()
            while (seconds := time.perf_counter() - started) < options.seconds:
                count += sum(1 for _ in predict_paths(predictor, [(path.name, path) for path in paths]))
            return count / seconds

        list(predict_paths(predictor, [(path.name, path) for path in paths[:8]]))
        first = bare()
        rows = []
        with server(*(["--model", options.model] if options.model else [])) as (port, _):
            load(port, bodies, 4, 1)
            for clients in (1, 4, 16):
                started = time.perf_counter()
                times = load(port, bodies, clients, options.seconds)
                rows.append((clients, len(times) / (time.perf_counter() - started), *np.quantile(times, [0.5, 0.99])))
        last = bare()
    rate = (first + last) / 2
    size = np.median([len(body) for body in bodies]) / 1e3
    width, height = Image.open(io.BytesIO(bodies[0])).size
    print(f"{len(bodies)} photos, median {size:.0f} kB, the first {width} x {height} px; model {predictor.name}")
    print(f"bare predictor: {rate:.1f} photos/s ({first:.1f} before, {last:.1f} after)")
    print("| clients | requests/s | of the bare predictor | p50 ms | p99 ms |\n| ---: | ---: | ---: | ---: | ---: |")
    for clients, requests, p50, p99 in rows:
        print(f"| {clients} | {requests:.1f} | {requests / rate:.2f} | {1e3 * p50:.0f} | {1e3 * p99:.0f} |")


if __name__ == "__main__":
    main()
