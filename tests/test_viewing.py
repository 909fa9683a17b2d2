"""What the page of `view` asks for: rows, pictures, evidence, mended labels; and who may ask."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from allmasked.core.errors import ConfigError, DataError
from allmasked.core.types import FoundFace, Photo, Prediction
from allmasked.data.relabelling import read_relabels
from allmasked.scoring.evaluate import evaluate
from colour_model import ColourModel, picture
from conftest import draw_photo
from fake_runs import FakeModel, fake_run, paint_photos

pytest.importorskip("httpx")
testclient = pytest.importorskip("starlette.testclient", exc_type=ImportError)
viewing = pytest.importorskip("allmasked.viewing.app", exc_type=ImportError)
open_source = pytest.importorskip("allmasked.viewing.sources").open_source
tables = pytest.importorskip("allmasked.viewing.table")


def answers_file(path: Path, answers: dict[str, str], faces: bool = False) -> Path:
    """As 'predict --out' writes it; "error" is no answer, "all?" an unsure one."""
    rows = []
    for name, said in answers.items():
        label, sure = said.removesuffix("?"), not said.endswith("?")
        if label == "error":
            rows.append(Prediction(name, None, None, "is cut off").to_dict(boxes=faces))
            continue
        chances = dict.fromkeys(("all", "none", "some"), 0.02) | {label: 0.96 if sure else 0.5}
        found = (FoundFace("bare", 0.9, 2, 2, 10, 22, 0.1), FoundFace("masked", 0.8, 1, 1, 4, 4, 0.9, False, "far"))
        three = chances["all"], chances["none"], chances["some"]
        rows.append(Prediction(name, label, three, faces=found if faces else None).to_dict(boxes=faces))  # type: ignore[arg-type]
    with path.open("w", newline="") as stream:
        if path.suffix == ".jsonl":
            stream.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(row | ({"faces": json.dumps(row["faces"])} if faces else {}) for row in rows)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three photos of each class with marked faces in one."""
    root = tmp_path / "data"
    for number, label in enumerate(("all", "none", "some") * 3):
        draw_photo(root / label / f"{number}.png", label, np.random.default_rng(number))
    (root / "faces.csv").write_text("photo,wear,left,top,right,bottom\nall/0.png,masked,4,4,20,34\n")
    return root


@pytest.fixture
def asked(tmp_path: Path, data: Path) -> Any:
    """A client of the page over a data set and two files of answers beside it."""
    said = {"data/all/0.png": "all", "data/all/3.png": "some", "data/none/1.png": "none?", "data/some/2.png": "error"}
    first = answers_file(data.parent / "first.csv", said, faces=True)
    second = answers_file(data.parent / "second.jsonl", {"data/all/0.png": "none", "data/all/3.png": "all"})
    return client_of([data, first, second], tmp_path / "mended.csv")


def client_of(sources: list[Path], labels: Path, **options: Any) -> Any:
    table = tables.Table([open_source(source) for source in sources])
    table.mend_into(tables.Mending(labels, table.root))
    eyes = viewing.Eyes(None, lambda _model: ColourModel())
    app = viewing.create_app(table, eyes, token="t", **options)
    client = testclient.TestClient(app, base_url="http://127.0.0.1/t/")
    client.table = table
    return client


def paths(client: Any, **query: Any) -> list[str]:
    response = client.get("rows", params=query)
    assert response.status_code == 200, response.text
    return [row["path"] for row in response.json()["rows"]]


def test_rows_in_pages_chosen_and_ordered(asked: Any) -> None:
    everything = paths(asked)
    assert len(everything) == 9 and everything[0] == "all/0.png"
    page = asked.get("rows?offset=4&limit=3").json()
    assert page["found"] == 9 and [row["path"] for row in page["rows"]] == everything[4:7]
    assert paths(asked, label="some") == ["some/2.png", "some/5.png", "some/8.png"]
    assert paths(asked, text="ALL/") == ["all/0.png", "all/3.png", "all/6.png"]
    assert paths(asked, answer="some") == ["all/3.png"] == paths(asked, verdict="wrong")
    assert paths(asked, answer="-", label="none") == ["none/4.png", "none/7.png"]
    assert paths(asked, sure="no") == ["none/1.png"] and paths(asked, sure="yes") == ["all/0.png", "all/3.png"]
    assert paths(asked, verdict="right") == ["all/0.png", "none/1.png"] and paths(asked, verdict="failed") == [
        "some/2.png"
    ]
    assert paths(asked, between="differ") == ["all/0.png", "all/3.png"] and not paths(asked, between="agree")
    assert paths(asked, between="first") == ["all/0.png"] and paths(asked, between="second") == ["all/3.png"]
    assert paths(asked, faces="1") == ["all/0.png", "all/3.png", "none/1.png"], (
        "30 px marked, else 20 px found; 3 px count not"
    )
    assert paths(asked, order="small")[:3] == ["all/3.png", "none/1.png", "all/0.png"]
    assert paths(asked, order="doubt")[:3] == ["all/3.png", "none/1.png", "all/0.png"]
    assert paths(asked, order="unsure")[0] == "none/1.png"
    for wrong in ("label=both", "offset=-1", "limit=9999", "colour=red"):
        response = asked.get(f"rows?{wrong}")
        assert response.status_code == 422 and wrong.split("=")[0] in response.json()["detail"]


def test_all_of_a_photo(asked: Any) -> None:
    about = asked.get("about").json()
    assert (about["photos"], about["models"], about["faces"]) == (9, ["first.csv", "second.jsonl"], True)
    photo = asked.get("photos/0").json()
    assert (photo["path"], photo["label"], photo["width"], photo["height"]) == ("all/0.png", "all", 80, 60)
    assert photo["marked"] == [{"wear": "masked", "left": 4, "top": 4, "right": 20, "bottom": 34}]
    first, second = photo["answers"]
    assert (first["label"], first["sure"], first["p_all"]) == ("all", True, 0.96)
    assert [face["counts"] for face in first["faces"]] == [True, False] and second["faces"] is None
    assert asked.get("photos/99").status_code == 404


def test_pictures_are_made_when_asked_for_and_a_bounded_lot_is_kept(asked: Any, data: Path) -> None:
    Image.new("RGB", (3000, 2000), (9, 9, 9)).save(data / "all" / "3.png")
    for size, wide in (("small", 240), ("large", 1600)):
        response = asked.get(f"photos/1/picture?size={size}")
        assert response.headers["content-type"] == "image/jpeg" and "max-age" in response.headers["cache-control"]
        assert Image.open(io.BytesIO(response.content)).width == wide
    (data / "all" / "6.png").write_bytes(b"nothing")
    response = asked.get("photos/2/picture")
    assert response.status_code == 422 and "is not a photo" in response.json()["detail"]
    pictures = viewing.Pictures(most_bytes=4000)
    sizes = [len(pictures.jpeg(file, 240)) for file in (data / "none").iterdir()]
    assert pictures.held_bytes <= 4000 < sum(sizes)


def test_labels_are_mended_at_once_and_taken_back(asked: Any, tmp_path: Path, data: Path) -> None:
    file = tmp_path / "mended.csv"
    row = asked.post("labels", json={"number": 0, "label": "none"}).json()
    assert (row["mended"], row["label"], row["count"]) == ("none", "all", 1)
    assert read_relabels(file) == {"all/0.png": "none"}
    file.write_text("path,label\nall/0.png,none\nelse/where.png,some\n")  # by another program
    asked.post("labels", json={"number": 1, "label": "nobody"})
    assert read_relabels(file) == {"all/0.png": "none", "all/3.png": "nobody", "else/where.png": "some"}
    assert paths(asked, mended="yes") == ["all/0.png", "all/3.png"]
    assert paths(client_of([data], file), mended="yes") == ["all/0.png", "all/3.png"], "and it goes on the next time"
    assert asked.post("labels", json={"number": 0, "label": "all"}).json()["mended"] is None, "the label that it had"
    asked.post("labels", json={"number": 1, "label": None})
    assert read_relabels(file) == {"else/where.png": "some"} and not paths(asked, mended="yes")
    assert asked.post("labels", json={"number": 0, "label": "both"}).status_code == 422
    file.write_text("broken")
    assert "has no column 'path'" in asked.post("labels", json={"number": 0, "label": "some"}).json()["detail"]
    assert file.read_text() == "broken" and asked.get("photos/0").json()["mended"] is None
    with pytest.raises(ConfigError, match="lies in the data set's folder"):
        tables.Mending(data / "mended.csv", data)


def test_evidence_on_demand(asked: Any, data: Path) -> None:
    picture("some", (128, 128)).save(data / "all" / "0.png")
    look = asked.get("photos/0/look").json()
    assert (look["by"], look["label"], look["masked"], look["bare"]) == ("colours", "some", 1, 1)
    assert look["heatmap"].startswith("data:image/png;base64,") and len(look["faces"]) == 2
    (data / "all" / "0.png").unlink()
    assert asked.get("photos/0/look").json() == {"detail": "0.png: no such file"}


def test_only_this_machines_own_page_may_ask(asked: Any) -> None:
    page = asked.get("")
    assert "base/page.css" in page.text and "default-src 'none'" in page.headers["content-security-policy"]
    assert all(asked.get(name).status_code == 200 for name in re.findall(r'(?:href|src)="([a-z/.]+)"', page.text))
    assert asked.get("about", headers={"host": "evil.example"}).status_code == 403
    for method, name in (("GET", "rows"), ("POST", "labels")):
        assert asked.request(method, name, headers={"origin": "http://evil.example"}).status_code == 403
        assert asked.request(method, name, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert asked.get("http://127.0.0.1/about").status_code == 404, "without the address' secret part"


def test_two_runs_with_the_answers_that_they_keep(tmp_path: Path) -> None:
    photos: list[Photo] = paint_photos(tmp_path / "data", {"train": 2, "validation": 4, "test": 2})
    for name, skill in (("a", 1.0), ("b", 0.0)):
        run = fake_run(tmp_path / name, tmp_path / "data", photos, model=name.encode())
        evaluate(run, ["validation"], plots=False, bootstrap=10, ask=FakeModel(skill))
    client = client_of([tmp_path / "a", tmp_path / "b"], tmp_path / "mended.csv")
    assert client.get("about").json()["models"] == ["a", "b"]
    assert len(paths(client)) == 24 and len(paths(client, part="validation")) == 12 == len(
        paths(client, between="first")
    )
    assert paths(client, order="apart")[0].split("/")[1].startswith("validation")
    (tmp_path / "a" / "model.keras").write_bytes(b"another")
    source = open_source(tmp_path / "a")
    assert "keeps no answers" in source.said[0] and all(one.answer is None for one in source.seen), "of another model"


def test_hostile_rows_are_told(tmp_path: Path) -> None:
    row = {"path": "a.jpg", "label": "all", "p_all": 1.0, "p_none": 0.0, "p_some": 0.0, "p_nobody": 0.0}
    for name, value in (("path", "a\0.jpg"), ("p_all", int("9" * 400)), ("faces", "[" * 100_000)):
        lines = [json.dumps(row), json.dumps({**row, name: value})]
        (tmp_path / "said.jsonl").write_text("\n".join(lines))
        source = open_source(tmp_path / "said.jsonl")
        assert len(source.seen) == 1 and "is no answer of 'allmasked predict'" in source.said[0], name


def test_rows_that_are_no_answers_are_told(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text(
        "path,label,p_all,p_none,p_some\na.png,all,0.9,0.1,0\nb.png,both,1,0,0\nc.png,all,7,0,0\nd.png,none,,,\n"
    )
    source = open_source(file)
    assert [one.answer.path for one in source.seen] == ["a.png"]
    assert [line.split(":")[1] for line in source.said] == ["3", "4", "5"]
    file.write_text("path,label,p_all\nb.png,both,1\n")
    with pytest.raises(DataError, match="is no answer of 'allmasked predict'"):
        open_source(file)


def test_the_command_says_where_and_ends_on_ctrl_c(tmp_path: Path, data: Path) -> None:
    import urllib.request

    command = [sys.executable, "-m", "allmasked", "view", str(data), "--no-open"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    lines = [process.stderr.readline(), process.stderr.readline()]
    assert "9 photos; mended labels go to corrections.csv, relative to" in lines[0]
    address = re.search(r"http://127\.0\.0\.1:\d+/\S+/", lines[1])
    assert address
    with urllib.request.urlopen(address[0], timeout=60) as page:
        assert b"allmasked view" in page.read()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0 and process.stderr.read() == ""
