"""``allmasked view``."""

from __future__ import annotations

import logging
import os
import sys
import threading
import webbrowser
from pathlib import Path

import click

from allmasked.cli import options as opt
from allmasked.cli.data import reading_options
from allmasked.cli.serving import listen
from allmasked.core.errors import require
from allmasked.core.progress import tell
from allmasked.data.readers import Options


@click.command("view")
@click.argument("sources", nargs=-1, required=True, metavar="DATA|RUN|ANSWERS...", type=opt.PATH)
@click.option("--labels", type=opt.FILE, default=Path("corrections.csv"), metavar="FILE.csv",
              help="Where mended labels are written at once, and read from; 'split --relabel' takes them.")  # fmt: skip
@click.option("--data", type=opt.FOLDER,
              help="The photos' folder, where it is not where RUN, split.json or ANSWERS says.")  # fmt: skip
@opt.model
@click.option("--port", default=0, type=click.IntRange(0, 65535), show_default="any free one", help="Of the page.")
@click.option("--open/--no-open", "open_page", default=True, help="Open the page in the browser.")
@reading_options
def view_command(
    sources: tuple[Path, ...], labels: Path, data: Path | None, model: Path | None, port: int, open_page: bool,
    options: Options,
) -> None:  # fmt: skip
    """Look at photos with their labels, answers, faces and evidence on a local page, and mend labels; until Ctrl-C.

    DATA is a data set or a split.json, RUN a run's or an ensemble's folder (with the answers that 'evaluate' keeps),
    ANSWERS a file of 'predict --out' (CSV, JSON, JSONL; with --boxes it holds faces). Given together they are shown
    side by side, photo by photo: 'view RUN_A RUN_B', 'view DATA answers.csv'.

    Mended labels go to a CSV of path and label, relative to the folder of the first DATA or RUN; nothing else is
    changed. --model is asked for faces and evidence where the answers come from no run. Only this machine can reach the
    page, and only who knows its address.
    """
    for module in ("fastapi", "uvicorn"):
        require(module, "web")
    from allmasked.serving.http import run
    from allmasked.viewing.app import Eyes, create_app
    from allmasked.viewing.sources import open_source
    from allmasked.viewing.table import Mending, Table

    table = Table([open_source(source, data=data, options=options) for source in sources])
    mending = Mending(labels, table.root)
    table.mend_into(mending)
    said = [line for source in table.sources for line in source.said]
    if strangers := [path for path in mending.labels if path not in table.numbers]:
        said.append(f"{labels}: holds labels of {len(strangers):,} photos that are not here, such as {strangers[0]}")
    for line in said[:5]:
        tell(line)
    if len(said) > 5:
        tell(f"... and {len(said) - 5:,} more lines, which the page shows")
    app = create_app(table, Eyes(model), said=said)
    listening = listen("127.0.0.1", port)
    try:
        listening.listen()  # so that the browser may come before the server is ready
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/{app.state.token}/"
        tell(f"{len(table):,} photos; mended labels go to {labels}, relative to {table.root}")
        tell(f"look at {address} (Ctrl-C stops)")
        if open_page and _has_browser():
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()
        run(app, listening, level=logging.WARNING)
    finally:
        listening.close()


def _has_browser() -> bool:
    """Whether a browser has a screen to open on; a text one would take this terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
