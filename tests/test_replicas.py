"""Two replicas behind nginx, as in examples/replicas: spread, drained, restarted without a failed request."""

from __future__ import annotations

import collections
import contextlib
import importlib
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from colour_model import encoded

httpx = pytest.importorskip("httpx")
yaml = pytest.importorskip("yaml")
pytest.importorskip("psutil")
served = pytest.importorskip("test_serving")
parser = pytest.importorskip("prometheus_client.parser")
EXAMPLE = Path(__file__).parents[1] / "examples" / "replicas"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The processes and ports of both, and the proxy's ports for HTTP/1.1 and HTTP/2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE.parents[1] / "bench")
        soak = importlib.import_module("soak")
    both = [served.start(seconds=0.02, logs=subprocess.DEVNULL) for _ in range(2)]
    try:
        with soak.proxy((both[0][1], both[1][1]), tmp_path_factory.mktemp("nginx")) as (plain, second):
            yield both, plain, second
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    finally:
        for process, _ in both:
            process.kill()
            process.communicate()


def counted(port: int) -> collections.Counter[tuple[str, str]]:
    """The counters of a replica that its requests for answers change."""
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    for family in parser.text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics").text):
        for sample in family.samples:
            if "/v1/predict" in sample.labels.values() or family.name == "allmasked_photos":
                found[sample.name, str(sorted(sample.labels.items()))] += sample.value
    return found


def test_metrics_of_replicas_add_up(replicas: Any) -> None:
    both, plain, _ = replicas
    before = [counted(port) for _, port in both]
    for label, count in (("all", 7), ("some", 4)):
        for _ in range(count):
            answer = httpx.post(f"http://127.0.0.1:{plain}/v1/predict", files=served.form(encoded(label)))
            assert answer.json()["photos"][0]["label"] == label
    shares = [counted(port) - old for (_, port), old in zip(both, before)]
    assert all(share["allmasked_request_seconds_count", "[('path', '/v1/predict')]"] for share in shares), "both answer"
    whole = shares[0] + shares[1]
    assert whole["allmasked_photos_total", "[('label', 'all')]"] == 7
    assert whole["allmasked_photos_total", "[('label', 'some')]"] == 4
    assert whole["allmasked_request_seconds_bucket", "[('le', '+Inf'), ('path', '/v1/predict')]"] == 11
    assert httpx.get(f"http://127.0.0.1:{plain}/metrics").status_code == 404, "they are not one replica's"


def test_prefix_sizes_pages_and_http2(replicas: Any) -> None:
    _, plain, second = replicas
    base = f"http://127.0.0.1:{plain}"
    moved = httpx.get(f"{base}/masks")
    assert (moved.status_code, moved.headers["location"]) == (301, "/masks/")
    for path in ("/masks/", "/masks/static/page.js", "/masks/v1/model", "/static/page.js"):
        assert httpx.get(base + path).status_code == 200, path
    files = served.form(encoded("all") + bytes(2_000_000))  # nginx' own limit is 1 MB
    own = httpx.post(f"{base}/masks/v1/predict", files=files, headers={"Origin": base})
    assert own.status_code == 200, "a browser's request over http from the page itself"
    assert httpx.post(f"{base}/v1/predict", files=files, headers={"Origin": "http://evil.example"}).status_code == 403
    curl = shutil.which("curl")
    if curl is not None:
        command = [curl, "-s", "--http2-prior-knowledge", "-w", "%{http_version}", "-F", "files=@-;filename=a.png"]
        command.append(f"http://127.0.0.1:{second}/v1/predict")
        told = subprocess.run(command, input=encoded("none"), capture_output=True, check=True).stdout.decode()
        assert '"label":"none"' in told and told.endswith("2")


def test_no_request_fails_while_replicas_are_restarted(replicas: Any) -> None:
    both, plain, _ = replicas
    became: collections.Counter[str] = collections.Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{plain}", timeout=60) as client:
            while not over.is_set():
                try:
                    answer = client.post("/v1/predict", files=served.form(encoded("some")))
                    became[f"{answer.status_code} {answer.json()['photos'][0]['label']}"] += 1
                except Exception as error:
                    became[repr(error)] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number, (process, port) in enumerate(list(both)):
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
            process.communicate()
            both[number] = served.start(port, drain=0.5, seconds=0.02, logs=subprocess.DEVNULL)
        time.sleep(0.5)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert set(became) == {"200 some"} and became["200 some"] > 10, became


def test_the_example_fits_together() -> None:
    from allmasked.cli.serving import serve_command

    compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())
    conf = (EXAMPLE / "nginx.conf").read_text()
    names = {name for name in compose["services"] if f"server {name}:8000" in conf}
    assert names == {"replica-a", "replica-b"} == set(compose["services"]["proxy"]["depends_on"])
    for name in names:
        command, *options = compose["services"][name]["command"]
        assert command == "serve"
        with contextlib.closing(serve_command.make_context("serve", list(options))) as context:
            assert context.params["host"] == "0.0.0.0" and context.params["drain_seconds"] == 5
