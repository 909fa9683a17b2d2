"""What a server has to stand for long, from rude clients, and while it is restarted; on this machine's loopback only.

    python bench/soak.py steady [--minutes 20] [--share 0.8]
    python bench/soak.py rude [--silent 10000]
    python bench/soak.py restart [--minutes 2] [--share 0.5]     # needs nginx
    python bench/soak.py http2                                   # needs nginx

steady: requests at a share of the capacity that 16 clients reach in 30 s; p50, p99 and memory by tenths of the time.
rude: beside one honest client, connections that send nothing, slow writers, slow readers, half-open connections, and
requests that don't wait for the answer before (pipelining).
restart: two replicas behind examples/replicas/nginx.conf, stopped with SIGTERM and started again in turn.
http2: 200 photos over one connection to that nginx, 20 at a time, then beside 50 connections that break off.
Clients and server share this machine's processors, so capacity is what is left to the server beside its clients.
An answer is wrong if its label is not that of the photo asked for alone, or a probability is off by more than 0.02.
Each ends with exit code 1 where an answer is wrong or lost; steady also where one is refused, where memory grows by
more than 10 % and 16 MB from the second tenth to the last, or where the p99 of a tenth is over twice the median of
the tenths. Runs with --model FILE as overload.py does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from overload import ask
from serving import load, people, server

CONF = Path(__file__).parents[1] / "examples" / "replicas" / "nginx.conf"
CAPACITY_SECONDS = 30
PROBABILITIES = ("p_all", "p_none", "p_some", "p_nobody")


def same(answer: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether two photos' answers agree."""
    near = all(abs((answer[name] or 0) - (expected[name] or 0)) < 0.02 for name in PROBABILITIES)
    return near and answer["label"] == expected["label"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def proxy(ports: tuple[int, int], folder: Path) -> Iterator[tuple[int, int]]:
    """nginx with the example's settings before two servers on this machine: its ports for HTTP/1.1 and for HTTP/2."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin:/usr/bin:/bin")
    if nginx is None:
        raise FileNotFoundError("nginx is not installed (apt-get install nginx)")
    plain, second = free_port(), free_port()
    text = CONF.read_text()
    for name, port in zip(("replica-a:8000", "replica-b:8000"), ports):
        text = text.replace(name, f"127.0.0.1:{port}")
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{plain}; listen 127.0.0.1:{second} http2;")
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        text = text.replace("http {", f"http {{ {name}_temp_path {folder}/{name};", 1)
    (folder / "nginx.conf").write_text(f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n{text}")
    process = subprocess.Popen([nginx, "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", plain), 1):
                break
            if process.poll() is not None:
                raise RuntimeError((folder / "error.log").read_text())
            time.sleep(0.05)
        yield plain, second
    finally:
        process.terminate()
        process.wait(20)


def head_of(length: int, query: str = "") -> bytes:
    """Of a request with a photo of so many bytes."""
    lines = (
        f"POST /v1/predict{query} HTTP/1.1",
        "Host: localhost",
        "Content-Type: image/jpeg",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


class Asked:
    """Requests at a rate, and what became of them."""

    def __init__(self, port: int, bodies: list[bytes], expected: list[dict[str, Any]]) -> None:
        self.port, self.bodies, self.expected = port, bodies, expected
        self.became: Counter[str] = Counter()
        self.seconds: list[tuple[float, float]] = []
        """When each answered request began, and what it took."""

    async def one(self, number: int) -> None:
        began = time.perf_counter()
        which = number % len(self.bodies)
        try:
            status, _, answer = await asyncio.wait_for(ask(self.port, self.bodies[which]), 90)
        except Exception as error:
            self.became[f"lost ({type(error).__name__})"] += 1
            return
        wrong = status == 200 and not same(answer["photos"][0], self.expected[which])
        self.became["wrong" if wrong else str(status)] += 1
        if status == 200:
            self.seconds.append((began, time.perf_counter() - began))

    async def at(self, rate: float, seconds: float) -> None:
        started, tasks = time.perf_counter(), set()
        number = 0
        while (passed := time.perf_counter() - started) < seconds:
            while number < rate * passed:
                task = asyncio.create_task(self.one(number))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                number += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)

    def ms(self, quantile: float, since: float = 0, until: float = np.inf) -> float:
        found = [took for began, took in self.seconds if since <= began < until]
        return 1e3 * float(np.quantile(found, quantile)) if found else float("nan")


async def asked(port: int, bodies: list[bytes]) -> Asked:
    expected = [(await ask(port, body))[2]["photos"][0] for body in bodies]
    if len({one["label"] for one in expected}) < 3:
        raise SystemExit("answers can't be told apart")
    return Asked(port, bodies, expected)


def capacity(port: int, bodies: list[bytes]) -> float:
    load(port, bodies, 16, 2)
    rate = len(load(port, bodies, 16, CAPACITY_SECONDS)) / CAPACITY_SECONDS
    print(f"capacity: {rate:.1f} requests/s", flush=True)
    return rate


async def sampled(work: Awaitable[None], sample: Callable[[], float]) -> list[tuple[float, float]]:
    """What ``sample`` gives twice a second until the work is done, with the time."""
    found: list[tuple[float, float]] = []
    working = asyncio.ensure_future(work)
    while not working.done():
        found.append((time.perf_counter(), sample()))
        await asyncio.wait({working}, timeout=0.5)
    await working
    return found


async def steady(port: int, bodies: list[bytes], rate: float, seconds: float, process: psutil.Process) -> bool:
    all_of_them = await asked(port, bodies)
    ours = process, psutil.Process()
    elsewhere: list[tuple[float, float]] = []

    def sample() -> float:
        spent = psutil.cpu_times()
        mine = sum(one.cpu_times().user + one.cpu_times().system for one in ours)
        elsewhere.append((time.perf_counter(), sum(spent) - spent.idle - getattr(spent, "iowait", 0) - mine))
        return process.memory_info().rss / 1e6

    memory = await sampled(all_of_them.at(rate, seconds), sample)
    began = memory[0][0]
    print(f"{rate:.1f} requests/s for {seconds:.0f} s: {dict(all_of_them.became)}, p99 {all_of_them.ms(0.99):.0f} ms")
    print("| tenth | p50 ms | p99 ms | MB | cores that others took |\n| ---: | ---: | ---: | ---: | ---: |")
    p99s, held = [], []
    for n in range(10):
        part = began + n * seconds / 10, began + (n + 1) * seconds / 10
        p99s.append(all_of_them.ms(0.99, *part))
        held.append(float(np.median([value for moment, value in memory if part[0] <= moment < part[1]])))
        took = [value for moment, value in elsewhere if part[0] <= moment < part[1]]
        others = (took[-1] - took[0]) / (seconds / 10)
        print(f"| {n + 1} | {all_of_them.ms(0.5, *part):.0f} | {p99s[-1]:.0f} | {held[-1]:.0f} | {others:.2f} |")
    flat = held[-1] - held[1] < 0.1 * held[1] + 16 and max(p99s) < 2 * float(np.median(p99s))
    return set(all_of_them.became) == {"200"} and flat


async def rude(port: int, bodies: list[bytes], rate: float, silent: int, process: psutil.Process) -> bool:
    honest = await asked(port, bodies)
    fine = True

    async def beside(what: str, doing: Callable[[], Awaitable[object]]) -> None:
        nonlocal fine
        honest.became.clear()
        began = time.perf_counter()
        memory = await sampled(
            asyncio.wait_for(_both(honest.at(rate, 15), doing()), 120), lambda: process.memory_info().rss
        )
        became, ms = dict(honest.became), honest.ms(0.99, began)
        fine &= set(became) <= {"200", "503"}
        top, connections = max(value for _, value in memory) / 1e6, len(process.net_connections())
        print(f"{what}: {became}, p99 {ms:.0f} ms, at most {top:.0f} MB, {connections} sockets after it", flush=True)

    async def pipelined() -> None:
        nonlocal fine
        right = sum(await asyncio.gather(*[_pipelined(port, bodies, honest.expected) for _ in range(10)]))
        print(f"pipelined: {right} of {10 * len(bodies)} answered right, in order", flush=True)
        fine &= right == 10 * len(bodies)

    await beside("nothing else", lambda: asyncio.sleep(0))
    await beside(f"{silent:,} connections that send nothing", lambda: _silent(port, silent))
    await beside("200 slow writers of a head, 20 of a body", lambda: _slow_writers(port))
    await beside("20 slow readers of large answers", lambda: _slow_readers(port, bodies[0]))
    await beside("500 half-open connections", lambda: _half_open(port, bodies[0]))
    await beside(f"10 connections with {len(bodies)} requests at once each", pipelined)
    await asyncio.sleep(35)
    await beside("35 s later", lambda: asyncio.sleep(0))
    return fine


async def _both(*work: Awaitable[object]) -> None:
    await asyncio.gather(*work)


async def _silent(port: int, count: int) -> None:
    writers = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            writers.append((await asyncio.open_connection("127.0.0.1", port))[1])
    print(f"{len(writers):,} connections made", flush=True)
    await asyncio.sleep(5)
    for writer in writers:
        writer.close()


async def _slow_writers(port: int) -> None:
    head = head_of(100_000)

    async def drip(begin: bytes) -> None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begin)
            for _ in range(20):
                await asyncio.sleep(0.5)
                writer.write(b"x")
                await writer.drain()
            writer.close()

    await asyncio.gather(*[drip(head[:20]) for _ in range(200)], *[drip(head) for _ in range(20)])


async def _slow_readers(port: int, body: bytes) -> None:
    request = head_of(len(body), "?heatmap=1&preview=1") + body

    async def read_slowly() -> None:
        with contextlib.suppress(OSError):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
            reader, writer = await asyncio.open_connection(sock=connection, limit=1)
            writer.write(request)
            for _ in range(10):
                await asyncio.sleep(1)
                await reader.read(10)
            writer.close()

    await asyncio.gather(*[read_slowly() for _ in range(20)])


async def _half_open(port: int, body: bytes) -> None:
    """Half a request, then nothing more, or the sending side closed, or a reset."""
    request = head_of(len(body)) + body
    held = []
    for number in range(500):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request[: len(request) // 2])
            connection = writer.get_extra_info("socket")
            if number % 3 == 1:
                writer.write_eof()
            elif number % 3 == 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            held.append(writer)
    await asyncio.sleep(8)
    for writer in held:
        writer.close()


async def _pipelined(port: int, bodies: list[bytes], expected: list[dict[str, Any]]) -> int:
    """All photos sent before the first answer is read: how many answers are right."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(head_of(len(body)) + body for body in bodies))
    right = 0
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        for one in expected:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            content = await reader.readexactly(int(re.findall(r"content-length: (\d+)", head)[0]))
            right += head.startswith("http/1.1 200") and same(json.loads(content)["photos"][0], one)
    writer.close()
    return right


async def http2(bodies: list[bytes], model: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ports = stack.enter_context(server(*model))[0], stack.enter_context(server(*model))[0]
        _, second = stack.enter_context(proxy(ports, Path(folder)))
        expected = (await asked(ports[0], bodies)).expected
        became: Counter[str] = Counter()

        def client() -> httpx.AsyncClient:
            return httpx.AsyncClient(base_url=f"http://127.0.0.1:{second}", http1=False, http2=True, timeout=90)

        async def one(client: httpx.AsyncClient, number: int, room: asyncio.Semaphore) -> None:
            which = number % len(bodies)
            async with room:
                answer = await client.post("/v1/predict", content=bodies[which], headers={"Content-Type": "image/jpeg"})
            right = answer.status_code == 200 and same(answer.json()["photos"][0], expected[which])
            became[
                f"{answer.http_version} {answer.status_code if right or answer.status_code != 200 else 'wrong'}"
            ] += 1

        async def whole() -> None:
            room = asyncio.Semaphore(20)
            async with client() as connection:
                results = await asyncio.gather(*[one(connection, number, room) for number in range(200)],
                                               return_exceptions=True)  # fmt: skip
            became.update(f"lost ({result!r})" for result in results if result)

        async def broken_off() -> None:
            """Clients that are gone while they send or wait, five requests each."""
            for number in range(50):
                async with client() as connection:
                    with contextlib.suppress(TimeoutError, httpx.TransportError):
                        async with asyncio.timeout(0.02 + number % 5 / 10):
                            await asyncio.gather(*[
                                connection.post("/v1/predict", content=body, headers={"Content-Type": "image/jpeg"})
                                for body in bodies[:5]
                            ])  # fmt: skip

        fine = True
        for what, besides in (("alone", asyncio.sleep(0)), ("beside 50 that break off", broken_off())):
            began = time.perf_counter()
            became.clear()
            await asyncio.gather(whole(), besides)
            fine &= became == {"HTTP/2 200": 200}
            print(f"200 photos {what}: {dict(became)}, {time.perf_counter() - began:.0f} s", flush=True)
        return fine


async def restart(bodies: list[bytes], share: float, seconds: float, model: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ports = free_port(), free_port()
        options = ["--drain-seconds", "2", *model]

        def begin(which: int) -> tuple[contextlib.ExitStack, subprocess.Popen[str]]:
            one = contextlib.ExitStack()
            _, process = one.enter_context(server(*options, port=ports[which]))
            return one, process

        replicas = [begin(0), begin(1)]
        for which in (0, 1):
            stack.callback(lambda which=which: replicas[which][0].close())
        plain, _ = stack.enter_context(proxy(ports, Path(folder)))
        rate = share * await asyncio.to_thread(capacity, plain, bodies)
        all_of_them = await asked(plain, bodies)
        restarts = 0
        codes: Counter[int] = Counter()

        async def again() -> None:
            nonlocal restarts
            while time.perf_counter() < until:
                which = restarts % 2
                close, process = replicas[which]
                process.send_signal(signal.SIGTERM)
                codes[await asyncio.to_thread(process.wait, 60)] += 1
                close.close()
                replicas[which] = await asyncio.to_thread(begin, which)
                restarts += 1
                await asyncio.sleep(1)

        until = time.perf_counter() + seconds
        await _both(all_of_them.at(rate, seconds), again())
        print(f"{rate:.1f} requests/s for {seconds:.0f} s, {restarts} restarts (exit codes {dict(codes)}): "
              f"{dict(all_of_them.became)}, p99 {all_of_them.ms(0.99):.0f} ms")  # fmt: skip
        return set(all_of_them.became) == {"200"} and set(codes) == {0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["steady", "rude", "restart", "http2"])
    parser.add_argument("--model", help="default: the model that ships")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--share", type=float, help="of capacity; default 0.8, restart 0.5")
    parser.add_argument("--rate", type=float, default=3, help="of the honest client, requests/s")
    parser.add_argument("--silent", type=int, default=10_000)
    options = parser.parse_args()
    model = ["--model", options.model] if options.model else []
    print("load before: " + re.sub(r"[()]", "", str(tuple(round(one, 1) for one in psutil.getloadavg()))))
    bodies = people()
    if options.what == "restart":
        fine = asyncio.run(restart(bodies, options.share or 0.5, 60 * (options.minutes or 2), model))
    elif options.what == "http2":
        fine = asyncio.run(http2(bodies, model))
    else:
        with server(*model) as (port, process):
            watched = psutil.Process(process.pid)
            if options.what == "rude":
                fine = asyncio.run(rude(port, bodies, options.rate, options.silent, watched))
            else:
                rate = (options.share or 0.8) * capacity(port, bodies)
                fine = asyncio.run(steady(port, bodies, rate, 60 * (options.minutes or 20), watched))
    print("fine" if fine else "NOT fine")
    raise SystemExit(not fine)


if __name__ == "__main__":
    main()
