"""The REST API: answers, limits, hostile senders, overload, shutdown."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked.core.types import SURE_MARGIN, Answers, Candidates, Counting, InputSpec
from allmasked.images.pixels import read
from allmasked.networks.reading import FAR_BEHIND, TOO_SMALL, Calibration, answer_of, label_of
from allmasked.predictors.ensemble import Ensemble, EnsemblePredictor, Member
from allmasked.predictors.predictor import Look, open_predictor, predict_paths
from allmasked.stats.votes import equal
from colour_model import BLUE, GREY, SKIN, ColourModel, encoded

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")
serving_module = pytest.importorskip("allmasked.serving.app", exc_type=ImportError)
protocol = pytest.importorskip("allmasked.serving.http", exc_type=ImportError).protocol
guard = pytest.importorskip("allmasked.serving.guard", exc_type=ImportError)
safe_name = pytest.importorskip("allmasked.serving.uploads").safe_name
JsonLines, Limits, create_app = serving_module.JsonLines, serving_module.Limits, serving_module.create_app

LABELS = ("all", "none", "some", "nobody")


@contextlib.contextmanager
def hosted(app: Any, patience: float | None = None) -> Iterator[Any]:
    """An app served on a free port of this machine, and a client of it; patience with slow clients: ``max_seconds``."""
    limits = app.state.limits
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=protocol(patience or limits.max_seconds, serving_module.DRAINED_BODIES * limits.max_bytes),
            log_config=None,
            access_log=False,
            lifespan="on",
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                client.port = port
                while not server.started:
                    assert thread.is_alive()
                    time.sleep(0.02)
                yield client
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@contextlib.contextmanager
def serving(predictor: Any = None, limits: Any = None, patience: float | None = None, **options: Any) -> Iterator[Any]:
    """A server of answers, and a client of it."""
    app = create_app(predictor or ColourModel(), limits, **options)
    with hosted(app, patience) as client:
        client.service = app.state.service
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with serving(limits=Limits(max_bytes=2_000_000, max_pixels=1_000_000, max_files=8, max_seconds=3)) as client:
        yield client


def form(*data: bytes, name: str = "photo.png") -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (name, one)) for one in data]


def test_answers_in_order_with_everything(client: Any) -> None:
    files = [("files", (f"{label}.png", encoded(label, (128, 128)))) for label in LABELS]
    response = client.post("/v1/predict?heatmap=1&boxes=1", files=files)
    assert response.status_code == 200
    answer = response.json()
    assert answer["model"] == "colours"
    assert [photo["label"] for photo in answer["photos"]] == list(LABELS)
    assert [photo["name"] for photo in answer["photos"]] == [f"{label}.png" for label in LABELS]
    for photo in answer["photos"]:
        assert sum(photo[f"p_{label}"] for label in LABELS) == pytest.approx(1, abs=1e-4)
        assert (photo["masked"], photo["bare"]) == {"all": (2, 0), "none": (0, 2), "some": (1, 1), "nobody": (0, 0)}[
            photo["label"]
        ]
        assert photo["sure"] is True and photo["masked"] + photo["bare"] == len(photo["faces"])
        check_faces(photo)
        assert all(0 <= face["left"] < face["right"] <= 128 for face in photo["faces"])
        assert (photo["width"], photo["height"], photo["error"]) == (128, 128, None)
    some = answer["photos"][2]
    png = base64.b64decode(some["heatmap"].removeprefix("data:image/png;base64,"))
    heat = np.asarray(Image.open(io.BytesIO(png)))
    height, width, channels = heat.shape
    assert channels == 4 and abs(width - height) <= 1, "cut to the photo, which is square"
    left, right = heat[height // 3, width // 4], heat[height // 3, 3 * width // 4]
    assert left[3] > 200 and right[3] > 200 and heat[-2, width // 2, 3] < 60
    assert left[1] > left[0] and right[0] > right[1], "masked is green on the left, bare is orange on the right"


def test_bytes_as_they_are_and_plain_answers(client: Any) -> None:
    for kind in ("image/png", "application/octet-stream", ""):
        response = client.post("/v1/predict", content=encoded("some"), headers={"content-type": kind} if kind else {})
        (photo,) = response.json()["photos"]
        assert photo["label"] == "some" and photo["name"] == "photo" and photo["sure"] is True
        assert "faces" not in photo and "heatmap" not in photo


def test_same_as_the_predictor_itself(client: Any, tmp_path: Path) -> None:
    from allmasked.predictors.predictor import predict_paths

    (tmp_path / "x.jpg").write_bytes(encoded("some", (300, 200), "JPEG"))
    (expected,) = predict_paths(ColourModel(), [("x.jpg", tmp_path / "x.jpg")])
    (photo,) = client.post("/v1/predict", files=form((tmp_path / "x.jpg").read_bytes())).json()["photos"]
    assert expected.probabilities is not None
    assert [photo[f"p_{label}"] for label in LABELS[:3]] == pytest.approx(expected.probabilities, abs=1e-5)
    assert (photo["masked"], photo["bare"], photo["sure"]) == (expected.masked, expected.bare, expected.sure)


def check_faces(photo: dict[str, Any]) -> None:
    """Counts, label and probabilities are those of the faces that count."""
    faces = photo["faces"]
    counted = [face for face in faces if face["counts"]]
    assert all((face["reason"] is None) == face["counts"] for face in faces)
    for kind in ("masked", "bare"):
        assert photo[kind] == sum(face["wear"] == kind for face in counted)
    score, masked = (np.array([face[name] for face in counted], float) for name in ("score", "p_masked"))
    four = answer_of(Candidates(np.zeros((len(counted), 4)), score, masked, np.ones(len(counted), bool)))
    assert [photo[f"p_{label}"] for label in LABELS] == pytest.approx(four, abs=2e-3)
    assert label_of(four, len(counted)) == photo["label"]
    second, first = np.sort(four)[-2:]
    only_uncounted = photo["label"] == "nobody" and not all(face["counts"] for face in faces)
    assert photo["sure"] == (first - second >= SURE_MARGIN and not only_uncounted)


def painted(*faces: tuple[tuple[int, int, int], tuple[int, int, int, int]]) -> bytes:
    """A photo of 160 x 120 px with patches of colour: left, top, right, bottom."""
    image, stream = Image.new("RGB", (160, 120), GREY), io.BytesIO()
    for colour, box in faces:
        image.paste(colour, box)
    image.save(stream, "PNG")
    return stream.getvalue()


class Stripes(ColourModel):
    """Says how much the pixels differ from each other: a photo resized twice differs less."""

    finds_faces = False

    def answer(self, pixels: np.ndarray) -> Answers:
        share = (pixels.std((1, 2, 3)) / 128).clip(0, 1)
        return Answers(np.stack([share, 1 - share, 0 * share], 1).astype(np.float32))


def test_each_member_of_an_ensemble_sees_the_photo_itself_as_predict_has_it() -> None:
    views = (InputSpec((64, 48)), InputSpec((40, 40), "stretch"))
    members = [Stripes("near", views[0]), Stripes("far", views[1])]
    rows = tuple(
        Member(m.name, "", "", "", "", "", 0, m.input.size, m.input.resize_mode, 0, 0, 1, 1, 0.9) for m in members
    )
    both = EnsemblePredictor("both", Ensemble("soft", rows, equal(2), (0, 1)), members)
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    (told,) = predict_paths(both, [("x.png", stream.getvalue())])
    with serving(both) as client:
        (photo,) = client.post("/v1/predict", files=form(stream.getvalue())).json()["photos"]
    assert photo["p_all"] == pytest.approx(told.four[0], abs=1e-6)
    once = both.answer(read(stream.getvalue(), views[0])[None]).probabilities[0, 0]
    assert abs(once - told.four[0]) > 0.001, "or the test means nothing"


def test_faces_that_do_not_count() -> None:
    model = ColourModel(input=InputSpec((160, 120)), calibration=Calibration(counting=Counting(10, 0.4)))
    near, behind, small = (BLUE, (16, 16, 40, 72)), (SKIN, (64, 40, 80, 56)), (SKIN, (72, 104, 80, 112))
    with serving(model) as client:
        answer = client.post("/v1/predict?boxes=1", files=form(painted(near, behind, small), painted(small)))
        said = client.get("/v1/model").json()
    first, second = answer.json()["photos"]
    assert (first["label"], first["masked"], first["bare"]) == ("all", 1, 0)
    assert {(face["wear"], face["counts"], face["reason"]) for face in first["faces"]} == {
        ("masked", True, None), ("bare", False, FAR_BEHIND), ("bare", False, TOO_SMALL)
    }  # fmt: skip
    assert (second["label"], second["p_nobody"]) == ("nobody", 1)
    assert [face["reason"] for face in second["faces"]] == [TOO_SMALL]
    check_faces(first)
    check_faces(second)
    assert (said["min_face_px"], said["min_face_share"]) == (10, 0.4)


def test_an_unsure_answer() -> None:
    doubtful = Calibration(wear=(0.0, 0.05, 0.0))  # every face wears a mask to 35 or 65 %
    with serving(ColourModel(calibration=doubtful)) as client:
        (photo,) = client.post("/v1/predict?boxes=1", files=form(encoded("all"))).json()["photos"]
    assert photo["sure"] is False
    check_faces(photo)


def test_a_model_without_faces() -> None:
    class Faceless(ColourModel):
        finds_faces = False

        def answer(self, pixels: np.ndarray) -> Answers:
            return Answers(super().answer(pixels).probabilities)

    with serving(Faceless()) as client:
        (photo,) = client.post("/v1/predict?boxes=1&heatmap=1", files=form(encoded("all"))).json()["photos"]
        model = client.get("/v1/model").json()
    assert (photo["label"], photo["sure"]) == ("all", True)
    assert photo["p_nobody"] is photo["masked"] is photo["bare"] is None
    assert "faces" not in photo and "heatmap" not in photo
    assert not model["finds_faces"] and model["labels"] == ["all", "none", "some"]


def test_the_documented_answer_is_right() -> None:
    (example,) = serving_module.Photo.model_json_schema()["examples"]
    assert serving_module.Photo(**example).model_dump(exclude={"heatmap", "preview"}) == example
    check_faces(example)
    text = (Path(__file__).parents[1] / "docs/serving.md").read_text()
    documented = json.loads(text.split("```json\n")[1].split("```")[0])
    (photo,) = documented["photos"]
    assert photo == example
    assert (
        documented["model"]
        == open_predictor(None).name
        == serving_module.Photos.model_json_schema()["examples"][0]["model"]
    )


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    return exif


def test_turned_photos_get_faces_on_the_upright_photo(client: Any) -> None:
    stream = io.BytesIO()
    upright = Image.open(io.BytesIO(encoded("all", (96, 128))))
    upright.rotate(90, expand=True).save(stream, "JPEG", exif=turned())
    (photo,) = client.post("/v1/predict?boxes=1", files=form(stream.getvalue())).json()["photos"]
    assert (photo["width"], photo["height"], photo["label"]) == (96, 128, "all")


def test_a_preview_of_what_browsers_cannot_show(client: Any) -> None:
    upright, stream = Image.open(io.BytesIO(encoded("none", (96, 128)))), io.BytesIO()
    upright.rotate(90, expand=True).save(stream, "TIFF", exif=turned())
    heic, tiff = encoded("some", (128, 96), "HEIF"), stream.getvalue()
    first, second, third = client.post("/v1/predict?preview=1", files=form(heic, tiff, b"text")).json()["photos"]
    assert (first["label"], second["label"]) == ("some", "none") and "preview" not in third
    for photo, size in ((first, (128, 96)), (second, (96, 128))):
        jpeg = base64.b64decode(photo["preview"].removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(jpeg)).size == size == (photo["width"], photo["height"])
    shrunk = client.service._read(serving_module.Upload("x", encoded("all", (1400, 700), "BMP")), True).preview
    assert Image.open(io.BytesIO(shrunk)).size == (1280, 640)


def test_a_preview_changes_nothing_of_the_answer(client: Any) -> None:
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 1400, 3), dtype=np.uint8))
    stream = io.BytesIO()
    large.save(stream, "BMP")
    upload = serving_module.Upload("x", stream.getvalue())
    plain, shown = (client.service._read(upload, preview) for preview in (False, True))
    assert plain.views and shown.preview
    for ours, theirs in zip(plain.views, shown.views, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_bad_photos_among_good_ones(client: Any) -> None:
    good = encoded("all")
    response = client.post("/v1/predict", files=form(good, good[: len(good) // 2], b"", b"text", good))
    assert response.status_code == 200
    photos = response.json()["photos"]
    assert [photo["label"] for photo in photos] == ["all", None, None, None, "all"]
    assert [bool(photo["error"]) for photo in photos] == [False, True, True, True, False]
    assert [photo["sure"] for photo in photos] == [True, None, None, None, True]
    alone = client.post("/v1/predict", files=form(b"text"))
    assert alone.status_code == 422
    assert alone.json()["photos"][0]["error"] in alone.json()["detail"]


def test_what_the_model_is(client: Any) -> None:
    model = client.get("/v1/model").json()
    assert model["labels"] == ["all", "none", "some", "nobody"] and model["finds_faces"] and model["heatmaps"]
    assert model["limits"]["max_bytes"] == 2_000_000
    assert (model["sure_margin"], model["min_face_px"], model["min_face_share"]) == (SURE_MARGIN, 0, 0)
    assert "face_score" not in model
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200


def test_metrics_and_logs_without_names(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "allmasked.serving"):
        client.post(
            "/v1/predict", files=form(encoded("all"), name="secret-name.png"), headers={"X-Request-ID": "abc-1"}
        )
        for path in ("/secret-path", "/v1/secret", "/secret/static/x"):
            client.get(path)
        client.get("/v1/model", headers={"Origin": "http://secret.example"})
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    line = next(line for line in lines if line.get("id") == "abc-1")
    assert (line["event"], line["path"], line["status"], line["photos"]) == ("request", "/v1/predict", 200, 1)
    assert "secret" not in json.dumps(lines)
    told = [(line["path"], line["status"]) for line in lines if line["event"] == "request"][-4:]
    assert told == [("unknown", 404)] * 3 + [("/v1/model", 403)]
    text = client.get("/metrics").text
    assert 'allmasked_photos_total{label="all"}' in text and "allmasked_batch_photos_bucket" in text
    assert "secret" not in text


def test_api_key() -> None:
    with serving(api_key="s3cret") as client:
        for path in ("/v1/model", "/metrics"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"X-API-Key": "s3creT"}).status_code == 401
            assert client.get(path, headers={"X-API-Key": "ünicode".encode()}).status_code == 401
            assert client.get(path, headers={"X-API-Key": "s3cret"}).status_code == 200
        assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 401
        assert client.get("/healthz").status_code == client.get("/").status_code == 200


def test_a_key_in_any_script() -> None:
    with serving(api_key="schlüssel") as client:
        assert client.get("/v1/model", headers={"X-API-Key": "schlüssel".encode()}).status_code == 200
        assert client.get("/v1/model", headers={"X-API-Key": "schlussel"}).status_code == 401


def test_a_foreign_name_is_refused() -> None:
    """DNS rebinding: another server's name that now leads here."""
    hosts = guard.hosts_of("127.0.0.1", ["photos.lan"])
    with serving(hosts=hosts) as client:
        for host in ("localhost", "127.0.0.1:8000", "127.8.8.8", "[::1]:8000", "Photos.LAN:1", "a.localhost", ""):
            assert client.get("/v1/model", headers={"Host": host}).status_code == 200, host
        for host in ("evil.example", "localhost.evil.example", "evil.example:8000", "192.168.1.5", "127.0.0.1.evil.io"):
            for path in ("/", "/v1/model", "/metrics", "/static/page.js"):
                response = client.get(path, headers={"Host": host})
                assert response.status_code == 403 and "--allow-host" in response.json()["detail"], (host, path)
        assert client.post("/v1/predict", files=form(encoded("all")), headers={"Host": "evil.io"}).status_code == 403
        assert 'allmasked_refused_total{reason="host"}' in client.get("/metrics").text
    assert guard.hosts_of("0.0.0.0", []) is None and guard.hosts_of("127.0.0.1", []) == frozenset()
    assert guard.hosts_of("::1", []) == frozenset() and guard.hosts_of("0.0.0.0", ["a.b"]) == {"a.b"}


CROSS = {"Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),  # curl
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://other.proxy"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        (CROSS, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        (CROSS | {"Origin": "https://friend.example"}, 200),
    ],
)
def test_pages_of_other_servers_are_refused(guarded: Any, headers: dict[str, str], status: int) -> None:
    response = guarded.post("/v1/predict", files=form(encoded("all")), headers=headers)
    assert response.status_code == status
    friend = headers.get("Origin") == "https://friend.example"
    assert response.headers.get("access-control-allow-origin") == ("https://friend.example" if friend else None)
    assert guarded.get("/v1/model", headers=headers).status_code == status


@pytest.fixture(scope="module")
def guarded() -> Iterator[Any]:
    with serving(origins=guard.origins_of(["https://Friend.example/"])) as client:
        yield client


def test_links_and_its_own_page_work(guarded: Any) -> None:
    visit = CROSS | {"Sec-Fetch-Mode": "navigate"}
    assert guarded.get("/", headers=visit).status_code == 200
    assert guarded.post("/v1/predict", files=form(encoded("all")), headers=visit).status_code == 403
    own = {"Origin": f"http://127.0.0.1:{guarded.port}"}
    assert guarded.post("/v1/predict", files=form(encoded("all")), headers=own).status_code == 200
    asked = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"} | CROSS
    asked |= {"Access-Control-Request-Headers": "x-api-key"}
    answer = guarded.options("/v1/predict", headers=asked)
    assert answer.status_code == 200 and "x-api-key" in answer.headers["access-control-allow-headers"].lower()
    assert guarded.options("/v1/predict", headers=asked | {"Origin": "https://evil.example"}).status_code == 403


def test_which_faces_count_is_an_option() -> None:
    high = encoded("all", (128, 128))  # faces are 64 px high
    for look, label in ((Look(20), "all"), (Look(100), "nobody")):
        with serving(look=look) as client:
            assert client.post("/v1/predict", files=form(high)).json()["photos"][0]["label"] == label
            assert client.get("/v1/model").json()["min_face_px_of_photo"] == look.min_face_px


def test_nothing_from_other_hosts(client: Any) -> None:
    for path in ("/", "/static/page.css", "/static/page.js", "/static/icon.svg"):
        response = client.get(path)
        assert response.status_code == 200
        text = response.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "//cdn" not in text
        assert "default-src 'none'" in response.headers["content-security-policy"]
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404


# --- hostile senders -------------------------------------------------------------------------------------------------


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds a few zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def many_scans() -> bytes:
    """A progressive JPEG whose last scan comes a thousand times."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + 1000 * scan + b"\xff\xd9"


HOSTILE: dict[str, tuple[bytes, int]] = {
    "pixel bomb": (png_of(50_000, 50_000), 422),
    "over the pixel limit": (png_of(1001, 1000), 422),
    "short of what it says": (png_of(900, 900), 422),
    "truncated": (encoded("all", (200, 200), "JPEG")[:-300], 422),
    "empty": (b"", 422),
    "text": (b"<html>" * 100, 422),
    "archive": (b"PK\x03\x04" + bytes(1000), 422),
    "vector": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 422),
    "many scans": (many_scans(), 422),
    "too many bytes": (bytes(2_500_000), 413),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_photos(name: str, client: Any) -> None:
    data, status = HOSTILE[name]
    assert client.post("/v1/predict", files=form(data)).status_code == status
    raw = client.post("/v1/predict", content=data, headers={"content-type": "image/png"})
    assert raw.status_code == status and raw.json()["detail"]
    assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 200, "and it goes on"


def test_hostile_forms(client: Any) -> None:
    good = encoded("all")

    def status(content: bytes, kind: str = "multipart/form-data; boundary=x") -> int:
        return client.post("/v1/predict", content=content, headers={"content-type": kind}).status_code

    def part(head: bytes, body: bytes = b"x") -> bytes:
        return b"--x\r\n" + head + b"\r\n\r\n" + body + b"\r\n--x--\r\n"

    assert client.post("/v1/predict", files=form(*[good] * 9)).status_code == 413
    assert client.post("/v1/predict", files=form(*[b""] * 10_000)).status_code == 413
    assert client.post("/v1/predict", files=[("photos", ("x.png", good))]).status_code == 422
    assert client.post("/v1/predict", data={"files": "x"}, files=[]).status_code == 415
    assert status(part(b'Content-Disposition: form-data; name="files"')) == 422
    assert status(part(b"Nothing: at all")) == 400
    assert status(part(b"A" * 100_000)) == 400
    assert status(b"--x\r\nbroken") == status(b"--x\r\n") == status(b"") == 400
    assert status(b"--y\r\n") == 400
    assert status(b"", "multipart/form-data") == 400
    assert status(b"{}", "application/json") == 415
    response = client.post("/v1/predict", files=form(good, name="../../etc/passwd\x00.png"))
    assert response.json()["photos"][0]["name"] in ("passwd�.png", "passwd%00.png")
    assert client.get("/v1/predict").status_code == 405
    assert client.post("/v1/predict?boxes=perhaps", files=form(good)).status_code == 422


def test_what_else_a_form_holds(client: Any) -> None:
    good = encoded("all")
    response = client.post("/v1/predict", files=form(good), data={"token": "x" * 1000, "caption": "ü"})
    assert response.status_code == 200 and [photo["label"] for photo in response.json()["photos"]] == ["all"]
    response = client.post("/v1/predict", files=[("file", ("a.jpg", good))])
    assert response.status_code == 422 and "'file': send photos in the field 'files'" in response.json()["detail"]
    response = client.post("/v1/predict", data={"files": "a.jpg"}, files=[("files", ("a.png", good))])
    assert response.status_code == 422 and "text came in the field 'files'" in response.json()["detail"]
    response = client.post("/v1/predict", files=[("caption", (None, b"x"))])
    assert response.status_code == 422 and "'files'" in response.json()["detail"]


def test_a_form_that_is_cut_off_is_not_answered(client: Any) -> None:
    good = encoded("all")
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    whole = (head + good + b"\r\n") * 2 + b"--x--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/v1/predict", content=whole, headers=kind).status_code == 200
    for cut in (len(head) + 20, len(head + good) + 3, len(whole) - 30, len(whole) - 5):
        response = client.post("/v1/predict", content=whole[:cut], headers=kind)
        assert response.status_code == 400 and "cut off" in response.json()["detail"], cut


@pytest.mark.parametrize(
    ("name", "safe"),
    [("a/b\\c.jpg", "c.jpg"), ("", "photo"), (None, "photo"), ("a\nb\x1b[1m", "a�b�[1m"), ("x" * 999, "x" * 200)],
)
def test_safe_names(name: str | None, safe: str) -> None:
    assert safe_name(name) == safe


def raw(client: Any, data: bytes, *, then: bytes = b"", pause: float = 0, times: int = 0) -> bytes:
    """What comes back for bytes sent as they are, until the server closes or has answered."""
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        connection.sendall(data)
        with contextlib.suppress(OSError):
            for _ in range(times):
                time.sleep(pause)
                connection.sendall(then)
        with contextlib.suppress(OSError):
            return connection.recv(65536)
    return b""


def test_slow_senders(client: Any) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    with ThreadPoolExecutor(4) as pool:
        body = pool.submit(raw, client, head, then=b"x", pause=0.2, times=18)
        heads = pool.submit(raw, client, b"POST /v1/pre", then=b"x", pause=0.2, times=18)
        silent = pool.submit(raw, client, b"")
        assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 200, "others are not held up"
        assert body.result().startswith(b"HTTP/1.1 408")
        assert heads.result().startswith(b"HTTP/1.1 408")
        assert silent.result().startswith(b"HTTP/1.1 408")


def test_slow_senders_take_no_place() -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    with serving(limits=Limits(max_requests=2)) as client, contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(("127.0.0.1", client.port))).sendall(head + bytes(500))
        until = time.monotonic() + 10
        while client.service.intake.held_bytes < 5 * 500 and time.monotonic() < until:
            time.sleep(0.01)
        assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 200


def test_endless_senders(client: Any) -> None:
    assert raw(client, b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 300_000).startswith(b"HTTP/1.1 4")
    chunked = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    endless = (b"10000\r\n" + bytes(65536) + b"\r\n") * 40
    assert raw(client, chunked + endless).startswith(b"HTTP/1.1 413")
    lying = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 99999999999\r\n\r\n"
    assert raw(client, lying).startswith(b"HTTP/1.1 413")
    assert raw(client, b"\x16\x03\x01 not http\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert client.service.intake.held_bytes == 0 and client.service.active == 0


def test_an_answer_that_nobody_takes() -> None:
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)).save(noise, "PNG")
    with serving(patience=1) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", client.port))
        request = client.build_request("POST", "/v1/predict?preview=1", files=form(*[noise.getvalue()] * 8))
        head = f"POST /v1/predict?preview=1 HTTP/1.1\r\nHost: x\r\nContent-Type: {request.headers['content-type']}\r\n"
        body = request.read()
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        top = connection.recv(2000)
        assert top.startswith(b"HTTP/1.1 200") and b"\r\ncontent-length: " in top
        time.sleep(2)
        got = len(top)
        with contextlib.suppress(ConnectionResetError):
            while some := connection.recv(1 << 20):
                got += len(some)
        assert got < int(top.split(b"content-length: ")[1].split()[0]), "it is not kept for ever"


def test_silent_clients_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allmasked.serving.http.IDLE_CONNECTIONS", 20)
    with serving() as client, contextlib.ExitStack() as stack:
        assert client.get("/healthz").status_code == 200
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", client.port), 5)) for _ in range(100)]
        assert silent[0].recv(1) == silent[70].recv(1) == b"", "the longest idle are closed"
        silent[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert silent[-1].recv(100).startswith(b"HTTP/1.1 200")
        assert httpx.get(f"http://127.0.0.1:{client.port}/healthz").status_code == 200


def test_requests_sent_before_the_last_one_is_answered(client: Any) -> None:
    """HTTP pipelining."""
    requests = b""
    for label in LABELS:
        body = encoded(label)
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        requests += head.encode() + body
    with socket.create_connection(("127.0.0.1", client.port), 20) as connection:
        connection.sendall(requests + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert re.findall(r'"label":"(\w+)"', answers) == list(LABELS)
    assert answers.count("HTTP/1.1 200") == 5 and answers.endswith('{"status":"ok"}')


def test_memory_stays_steady(client: Any) -> None:
    psutil = pytest.importorskip("psutil")
    process = psutil.Process()
    bodies = [data for data, _ in HOSTILE.values()]

    def barrage(count: int) -> None:
        for number in range(count):
            client.post("/v1/predict", files=form(bodies[number % len(bodies)]))

    barrage(40)
    before = process.memory_info().rss
    barrage(160)
    assert process.memory_info().rss - before < 30e6


def test_photos_that_take_long_keep_nobody_waiting() -> None:
    """Those over 40 million pixels are decoded one at a time: they waited for each other in every decoder there was."""
    from allmasked.images import pixels
    from allmasked.predictors.onnx_model import processors

    stream = io.BytesIO()
    Image.new("1", (6400, 6400)).save(stream, "PNG")
    large = stream.getvalue()
    assert pixels.takes_long(large, (416, 320)) and not pixels.takes_long(encoded("all"), (416, 320))
    stream = io.BytesIO()
    Image.new("L", (6400, 6400)).save(stream, "JPEG")
    assert not pixels.takes_long(stream.getvalue(), (416, 320)) and not pixels.takes_long(b"text", (416, 320))
    with serving(limits=Limits(max_seconds=60)) as client, ThreadPoolExecutor(processors() + 2) as senders:
        with pixels._one_large_at_a_time:
            sent = [senders.submit(client.post, "/v1/predict", files=form(large)) for _ in range(processors() + 1)]
            deadline = time.monotonic() + 20
            while client.service.active < len(sent) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert client.service.active == len(sent)
            small = senders.submit(client.post, "/v1/predict", files=form(encoded("all")))
            assert small.result(timeout=20).json()["photos"][0]["label"] == "all"
        assert [one.result(timeout=60).status_code for one in sent] == [200] * len(sent)


@pytest.mark.parametrize("kind", ["bytes", "form"])
def test_a_body_is_held_once(kind: str) -> None:
    """It was there twice for a moment: as it came, and put together."""
    import tracemalloc

    from starlette.requests import Request

    from allmasked.serving.uploads import Intake

    head = b'--e\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    sent = iter([head, *[b""] * 20, b"\r\n--e--\r\n"] if kind == "form" else [b""] * 20)

    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": next(sent) or bytes(1 << 20), "more_body": True}
        except StopIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    async def taken() -> tuple[int, int]:
        content_type = "multipart/form-data; boundary=e" if kind == "form" else "image/png"
        headers = [(b"content-type", content_type.encode())]
        request = Request({"type": "http", "method": "POST", "headers": headers, "query_string": b""}, receive)
        async with Intake(max_bytes=50 << 20, max_files=5, max_seconds=60).photos(request) as uploads:
            return sum(len(upload.data) for upload in uploads), tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        size, peak = asyncio.run(taken())
    finally:
        tracemalloc.stop()
    assert size == 20 << 20 and peak < 1.5 * size


def test_no_photo_touches_the_disk(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    import tempfile

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    assert len(stream.getvalue()) > 1 << 20
    assert client.post("/v1/predict", files=form(stream.getvalue())).status_code == 200


# --- many at a time --------------------------------------------------------------------------------------------------


def test_requests_are_answered_together() -> None:
    model = ColourModel(seconds_a_photo=0.02)
    with serving(model, Limits(batch_size=8)) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: client.post("/v1/predict", files=form(encoded(LABELS[n % 4]))), range(64)))
    assert [a.json()["photos"][0]["label"] for a in answers] == [LABELS[n % 4] for n in range(64)], "none mixed up"
    assert max(model.batches) <= 8 and sum(model.batches) == 65  # with the first, empty picture
    assert len(model.batches) < 40


def test_overload_is_refused_and_over_soon() -> None:
    model = ColourModel(seconds_a_photo=0.05)
    limits = Limits(max_requests=4, max_photos=4)
    with serving(model, limits) as client:
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: client.post("/v1/predict", files=form(encoded("all"))), range(120)))
        statuses = {answer.status_code for answer in answers}
        assert statuses == {200, 503}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 503)
        assert all(answer.json()["photos"][0]["label"] == "all" for answer in answers if answer.status_code == 200)
        assert client.post("/v1/predict", files=form(*[encoded("all")] * 5)).status_code == 413
        assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 200
        assert client.service.active == client.service.batcher.held == 0


def test_refusals_reach_who_sends_first_and_closes_then() -> None:
    """A body that is not read, and a connection that ends with the answer: the answer must still arrive."""
    body = encoded("all") + bytes(1_500_000)
    head = f"Host: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    with serving(limits=Limits(max_requests=1), api_key="s3cret") as client:
        client.service.active = 1
        for path, key, status in (("predict", b"s3cret", 503), ("predict", b"", 401), ("nothing", b"", 404)):
            for _ in range(10):
                line = f"POST /v1/{path} HTTP/1.1\r\nX-API-Key: ".encode() + key + b"\r\n"
                assert raw(client, line + head + body).startswith(f"HTTP/1.1 {status}".encode())
        client.service.active = 0


def test_a_slow_network_takes_on_no_more_than_it_can_answer_in_time() -> None:
    with serving(ColourModel(seconds_a_photo=0.2), Limits(max_seconds=2, batch_size=1)) as client:
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: client.post("/v1/predict", files=form(encoded("all"))), range(72)))
        refused = [answer.json()["detail"] for answer in answers if answer.status_code == 503]
        assert refused and sum(detail.startswith("no answer within") for detail in refused) <= 12


def test_a_network_that_hangs() -> None:
    model = ColourModel(go=threading.Event())
    with serving(model, Limits(max_seconds=0.5)) as client:
        answer = client.post("/v1/predict", files=form(encoded("all")))
        assert answer.status_code == 503 and "retry-after" in answer.headers
        time.sleep(0.3)
        assert client.get("/readyz").status_code == 503 and client.get("/healthz").status_code == 200
        assert model.go is not None
        model.go.set()
        assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 200
        assert client.get("/readyz").status_code == 200


def test_clients_that_go_away() -> None:
    model = ColourModel(seconds_a_photo=0.3)
    with serving(model) as client:
        body = encoded("all")
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", client.port)) as connection:
                connection.sendall(head.encode() + body)
        assert client.post("/v1/predict", files=form(body)).status_code == 200
        assert sum(model.batches) < 8, "what nobody waits for is not answered"
        assert client.service.active == 0


def test_a_network_that_fails() -> None:
    class Broken(ColourModel):
        def answer(self, pixels: np.ndarray) -> Any:
            if self.batches and pixels.mean() > 200:
                raise RuntimeError("no")
            return super().answer(pixels)

    with serving(Broken()) as client:
        white = io.BytesIO()
        Image.new("RGB", (64, 48), "white").save(white, "PNG")
        assert client.post("/v1/predict", files=form(white.getvalue())).status_code == 500
        assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 200


def test_too_little_memory_for_a_photo_is_told_and_passes() -> None:
    class Hungry(ColourModel):
        def answer(self, pixels: np.ndarray) -> Any:
            if len(self.batches) == 1:  # the first is the server's own
                self.batches.append(1)
                raise MemoryError("no more")
            return super().answer(pixels)

    with serving(Hungry()) as client:
        refused = client.post("/v1/predict", files=form(encoded("all")))
        assert refused.status_code == 503 and refused.headers["Retry-After"]
        assert "too little memory" in refused.json()["detail"]
        assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 200
        assert 'reason="memory"' in client.get("/metrics").text


SERVER = """
import socket, sys
sys.path[:0] = {paths!r}
from colour_model import ColourModel
from allmasked.serving.app import create_app
from allmasked.serving.http import run
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(("127.0.0.1", {port}))
print(listening.getsockname()[1], flush=True)
run(create_app(ColourModel(seconds_a_photo={seconds})), listening, drain_seconds={drain})
"""


def start(
    port: int = 0, drain: float = 0, seconds: float = 0.5, logs: int = subprocess.PIPE
) -> tuple[subprocess.Popen[str], int]:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER.format(paths=paths, port=port, drain=drain, seconds=seconds)],
        stdout=subprocess.PIPE,
        stderr=logs,
        text=True,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return process, port
        time.sleep(0.05)
    raise AssertionError("never ready")


def wait_for_active(port: int, count: int) -> None:
    for _ in range(200):
        if f"allmasked_requests_active {count}.0" in httpx.get(f"http://127.0.0.1:{port}/metrics").text:
            return
        time.sleep(0.02)
    raise AssertionError("the requests never came together")


def test_a_clean_end_under_load_and_a_new_start() -> None:
    process, port = start()
    url = f"http://127.0.0.1:{port}/v1/predict"
    with ThreadPoolExecutor(6) as pool:
        taken = [pool.submit(httpx.post, url, files=form(encoded("some")), timeout=30) for _ in range(6)]
        wait_for_active(port, 6)
        process.send_signal(signal.SIGTERM)
        assert [one.result().json()["photos"][0]["label"] for one in taken] == ["some"] * 6, "what it took it finishes"
    _, logs = process.communicate(timeout=20)
    assert process.returncode == 0
    assert all(json.loads(line) for line in logs.splitlines()) and '"stopped"' in logs
    again, port = start(port)
    try:
        with ThreadPoolExecutor(4) as pool:
            lost = [pool.submit(httpx.post, url, files=form(encoded("all")), timeout=30) for _ in range(4)]
            wait_for_active(port, 4)
            again.kill()
            for one in lost:
                with contextlib.suppress(httpx.TransportError):
                    one.result()
        third, _ = start(port)
        assert httpx.post(url, files=form(encoded("all"))).status_code == 200
        third.kill()
    finally:
        again.kill()


def test_readyz_says_first_that_it_ends() -> None:
    process, port = start(drain=2)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client, ThreadPoolExecutor(1) as pool:
        taken = pool.submit(client.post, "/v1/predict", files=form(encoded("none")))
        wait_for_active(port, 1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        ready = client.get("/readyz")
        assert ready.status_code == 503 and ready.headers["connection"] == "close"
        late = client.post("/v1/predict", files=form(encoded("some")))
        assert [one.json()["photos"][0]["label"] for one in (taken.result(), late)] == ["none", "some"]
    assert process.wait(20) == 0
    process.communicate()


# --- command line and the contract -----------------------------------------------------------------------------------


def test_command_line_says_what_is_wrong() -> None:
    from click.testing import CliRunner

    from allmasked.cli import cli
    from allmasked.core.errors import ConfigError, RunError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(cli, ["serve", "--port", str(taken.getsockname()[1])])
        assert isinstance(result.exception, ConfigError) and "--port" in str(result.exception)
    result = CliRunner().invoke(cli, ["serve", "--port", "0", "--model", "nowhere"])
    assert isinstance(result.exception, RunError)
    for options, word in (
        (["--allow-host", "http://x/"], "--allow-host"),
        (["--allow-origin", "x.example"], "--allow-origin"),
        (["--allow-origin", "*"], "--allow-origin"),
        (["--api-key", " "], "--api-key is set, but empty"),
        (["--api-key", "a\nb"], "--api-key"),
    ):
        result = CliRunner().invoke(cli, ["serve", "--port", "0", *options])
        assert isinstance(result.exception, ConfigError) and word in str(result.exception)
    result = CliRunner().invoke(cli, ["serve", "--port", "0"], env={"ALLMASKED_API_KEY": ""})
    assert isinstance(result.exception, ConfigError) and "$ALLMASKED_API_KEY is set, but empty" in str(result.exception)


def test_a_warning_beyond_this_machine_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from allmasked.cli import cli

    made: list[dict[str, Any]] = []
    monkeypatch.setattr("allmasked.model.open_predictor", lambda *_args, **_options: ColourModel())
    monkeypatch.setattr("allmasked.serving.app.create_app", lambda *_args, **options: made.append(options))
    monkeypatch.setattr("allmasked.serving.http.run", lambda *_args, **_options: None)
    for logger in map(logging.getLogger, ("allmasked", "uvicorn")):
        for attribute in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))  # to be as before afterwards

    def said(*options: str) -> str:
        result = CliRunner().invoke(cli, ["serve", "--port", "0", *options], catch_exceptions=False)
        *_, last = (json.loads(line) for line in result.stderr.splitlines())
        assert last["event"] == "listening" and last["address"].startswith("http://")
        return result.stderr

    assert "warning" not in said() and made[-1]["hosts"] == frozenset()
    assert "whoever reaches 0.0.0.0" in said("--host", "0.0.0.0") and made[-1]["hosts"] is None
    assert "warning" not in said("--host", "0.0.0.0", "--api-key", "k", "--min-face-px", "12")
    assert made[-1]["api_key"] == "k" and made[-1]["look"] == Look(12)


def test_no_framework_is_needed() -> None:
    code = "import sys; sys.modules.update(dict.fromkeys(('keras', 'tensorflow', 'cv2', 'matplotlib', 'sklearn')))\n"
    code += "import allmasked.serving.http, allmasked.watching.watch, allmasked.watching.sources"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("api_key", ["", "s3cret"])
def test_openapi_contract(api_key: str) -> None:
    with serving(api_key=api_key) as client:
        check_contract(client, {"X-API-Key": api_key} if api_key else {})


def check_contract(client: Any, headers: dict[str, str]) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    images = st.sampled_from([encoded(label) for label in LABELS])
    for kind in ("image/*", "application/octet-stream", "image/png"):
        schemathesis.openapi.media_type(kind, images)
    # OpenAPI has no words for "bytes that are a photo": bytes that are none are refused with 422
    taken = {"expected-statuses": ["2xx", "401", "422", "503"]}
    config = schemathesis.Config.from_dict({"checks": {"positive_data_acceptance": taken}})
    schema = schemathesis.openapi.from_url(str(client.base_url.join("/openapi.json")), config=config)
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        seen.add(operation.label)

        @settings(
            max_examples=25, deadline=None, database=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            case.call_and_validate(headers=headers)

        call()
    assert "POST /v1/predict" in seen and len(seen) == 5


def test_a_form_in_a_strange_charset_is_refused(client: Any) -> None:
    for charset in ("punycode", "undefined", "utf-7"):
        head = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
        body = b'--x\r\nContent-Disposition: form-data; name="t-"\r\n\r\n-b\r\n--x--\r\n'
        assert client.post("/v1/predict", content=body, headers=head).status_code == 415
    assert client.post("/v1/predict", files=form(encoded("all"))).status_code == 200
    zeros = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: " + b"0" * 5000
    assert not raw(client, zeros + b"\r\n\r\n").startswith(b"HTTP/1.1 500")


def test_files_of_the_page_are_counted_as_what_they_are(client: Any) -> None:
    assert client.get("/static/page.js").status_code == 200
    assert 'path="/static",status="200"' in client.get("/metrics").text


def test_a_second_server_on_a_port_is_told_at_once() -> None:
    from click.testing import CliRunner

    from allmasked.cli import cli
    from allmasked.cli.serving import listen
    from allmasked.core.errors import ConfigError

    with listen("127.0.0.1", 0) as first, pytest.raises(ConfigError, match="cannot listen"):
        listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(ConfigError, match="cannot listen"):
        listen("a" * 70 + ".example", 0)
    result = CliRunner().invoke(cli, ["serve", "--port", "0"], env={"ALLMASKED_API_KEY": "schl\u00fcssel"})
    assert isinstance(result.exception, ConfigError) and "signs that a header can't" in str(result.exception)
