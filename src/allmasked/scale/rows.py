"""Rows and the shards that hold them: Parquet or CSV, the same columns for every engine."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from allmasked.core.errors import DataError, require

if TYPE_CHECKING:
    from allmasked.core.types import Prediction
    from allmasked.predictors.addresses import Item

csv.field_size_limit(1 << 24)  # the faces of a crowd
Kind = Literal["parquet", "csv"]
Row = dict[str, Any]

COLUMNS: dict[str, str] = {
    # column: its type in Parquet
    "path": "string", "etag": "string", "size": "int64", "label": "string", "p_all": "double", "p_none": "double",
    "p_some": "double", "p_nobody": "double", "masked": "int32", "bare": "int32", "sure": "bool", "faces": "faces",
    "error": "string", "model": "string", "model_sha256": "string", "version": "string",
}  # fmt: skip
"""Of every shard: the photo (path, etag, size in bytes), the answer, the faces, and what answered."""
FACE: dict[str, str] = {
    "wear": "string", "score": "double", "p_masked": "double", "counts": "bool", "reason": "string", "left": "double",
    "top": "double", "right": "double", "bottom": "double",
}  # fmt: skip
"""Of a face: edges in px of the upright photo."""


def row_of(item: Item, prediction: Prediction, model: Row) -> Row:
    """One photo's row; None where there is nothing to say. ``model`` has the last three columns."""
    return prediction.to_dict() | {"path": item.name, "etag": item.etag, "size": item.size} | model


def _schema() -> Any:
    pa: Any = require("pyarrow", "scale")
    plain = {
        "string": pa.string(),
        "int64": pa.int64(),
        "int32": pa.int32(),
        "double": pa.float64(),
        "bool": pa.bool_(),
    }
    plain["faces"] = pa.list_(pa.struct([(name, plain[kind]) for name, kind in FACE.items()]))
    return pa.schema([(name, plain[kind]) for name, kind in COLUMNS.items()])


def packed(rows: Sequence[Row], kind: Kind) -> bytes:
    """Rows as the content of a shard."""
    if kind == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "faces": None if row["faces"] is None else json.dumps(row["faces"])} for row in rows)
        return text.getvalue().encode()
    pa: Any = require("pyarrow", "scale")
    return _parquet(pa.Table.from_pylist(list(rows), schema=_schema()))


def _parquet(table: Any) -> bytes:
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def columns_of(content: bytes, kind: Kind, names: Sequence[str], where: str) -> dict[str, list[Any]]:
    """Some columns of a shard; empty strings are None. Raises :class:`DataError` naming the shard."""
    try:
        if kind == "csv":
            read = csv.DictReader(io.StringIO(content.decode(), newline=""))
            lines = list(read)
            return {name: [line[name] or None for line in lines] for name in names}
        require("pyarrow", "scale")
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(content), columns=list(names))
        return {name: [value or None for value in table[name].to_pylist()] for name in names}
    except (ValueError, KeyError, OSError, csv.Error):
        raise DataError(f"{where}: is not a shard of answers; remove it, and its photos are answered again") from None


def without(content: bytes, kind: Kind, keep: Sequence[bool]) -> bytes:
    """A shard without the rows that are not to be kept."""
    if kind == "csv":
        lines = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(line for line, wanted in zip(lines, keep) if wanted)
        return text.getvalue().encode()
    pa: Any = require("pyarrow", "scale")
    import pyarrow.parquet as pq

    return _parquet(pq.read_table(io.BytesIO(content)).filter(pa.array(keep)))


def read_rows(read: Callable[[str], bytes], names: Sequence[str], kind: Kind) -> list[Row]:
    """All rows of some shards as dictionaries, for those who want them in memory."""
    rows: list[Row] = []
    for name in names:
        if kind == "csv":
            rows += csv.DictReader(io.StringIO(read(name).decode(), newline=""))
        else:
            require("pyarrow", "scale")
            import pyarrow.parquet as pq

            rows += pq.read_table(io.BytesIO(read(name))).to_pylist()
    return rows
