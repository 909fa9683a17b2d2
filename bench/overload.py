"""A server under four times the load it can carry, on this machine's loopback only.

    python bench/overload.py [--model FILE] [--seconds 60] [--times 4]

Capacity is measured with 16 clients for 5 s; then requests are sent at so many times that rate, whether or not earlier
ones were answered. Ends with exit code 1 unless every request got an answer, each 200 (with the label the photo gets
when asked alone) or 503 with Retry-After, and the server's memory in the last third is no more than 10 % and 16 MB
above that in the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from typing import Any

import numpy as np
import psutil

from serving import load, people, server


async def ask(port: int, body: bytes) -> tuple[int, dict[str, str], Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Content-Type: image/jpeg\r\nConnection: close\r\n\r\n" + body)
        answer = await reader.read()
    finally:
        writer.close()
    top, _, content = answer.partition(b"\r\n\r\n")
    lines = top.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, json.loads(content)


async def overload(port: int, bodies: list[bytes], rate: float, seconds: float, process: psutil.Process) -> bool:
    expected = [(await ask(port, body))[2]["photos"][0]["label"] for body in bodies]
    if len(set(expected)) < 3:
        raise SystemExit(f"answers can't be told apart: {Counter(expected)}")
    statuses: Counter[str] = Counter()
    times: list[float] = []
    refused: list[float] = []
    memory: list[int] = []
    wrong: Counter[str] = Counter()

    async def one(number: int) -> None:
        started = time.perf_counter()
        try:
            status, headers, answer = await asyncio.wait_for(ask(port, bodies[number % len(bodies)]), 90)
        except Exception as error:
            statuses[f"lost ({type(error).__name__})"] += 1
            return
        statuses[str(status)] += 1
        (times if status == 200 else refused).append(time.perf_counter() - started)
        if status == 200:
            wrong["label"] += answer["photos"][0]["label"] != expected[number % len(bodies)]
        elif status == 503:
            wrong["Retry-After"] += "retry-after" not in headers

    async def watch() -> None:
        while True:
            memory.append(process.memory_info().rss)
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    started = time.perf_counter()
    tasks = []
    while (passed := time.perf_counter() - started) < seconds:
        while len(tasks) < rate * passed:
            tasks.append(asyncio.create_task(one(len(tasks))))
        await asyncio.sleep(0.005)
    await asyncio.gather(*tasks)
    watching.cancel()
    third = max(1, len(memory) // 3)
    first, last = float(np.median(memory[:third])), float(np.median(memory[-third:]))
    print(f"{len(tasks)} requests in {seconds:.0f} s ({len(tasks) / seconds:.0f}/s): {dict(statuses)}, wrong {+wrong}")
    for name, values in (("answered", times), ("refused", refused)):
        if values:
            p50, p99 = np.quantile(values, [0.5, 0.99]) * 1e3
            print(f"{name}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    top = max(memory) / 1e6
    print(f"memory: {first / 1e6:.0f} MB in the first third, {last / 1e6:.0f} in the last, {top:.0f} at most")
    return set(statuses) <= {"200", "503"} and not +wrong and last - first < 0.1 * first + 16e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="default: the model that ships")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=4)
    options = parser.parse_args()
    bodies = people()
    with server(*(["--model", options.model] if options.model else [])) as (port, process):
        seconds = min(5.0, options.seconds)
        capacity = len(load(port, bodies, 16, seconds)) / seconds
        print(f"capacity: {capacity:.1f} requests/s")
        fine = asyncio.run(
            overload(port, bodies, options.times * capacity, options.seconds, psutil.Process(process.pid))
        )
    print("fine" if fine else "NOT fine")
    raise SystemExit(not fine)


if __name__ == "__main__":
    main()
