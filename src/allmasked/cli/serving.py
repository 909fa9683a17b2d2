"""``allmasked serve`` and ``allmasked watch``."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import click

from allmasked import progress
from allmasked.cli.answers import model_option
from allmasked.errors import ConfigError, require

MIB = 1 << 20


@click.command("serve")
@model_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0 for any free one.")
@click.option("--api-key", envvar="ALLMASKED_API_KEY", default="", metavar="KEY",
              help="Ask for it in the header X-API-Key; better given as $ALLMASKED_API_KEY.")  # fmt: skip
@click.option("--page/--no-page", default=True, show_default=True, help="Serve the page, or the REST API only.")
@click.option("--max-mb", default=32.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
              help="MiB a request.")  # fmt: skip
@click.option("--max-megapixels", default=50.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
              help="Megapixels a photo.")  # fmt: skip
@click.option("--max-files", default=32, show_default=True, type=click.IntRange(1), help="Photos a request.")
@click.option("--max-seconds", default=30.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
              help="That a request may take to arrive, and then an answer to be made.")  # fmt: skip
@click.option("--max-requests", default=32, show_default=True, type=click.IntRange(1),
              help="Requests for answers at a time; more get 503 with Retry-After.")  # fmt: skip
@click.option("--max-photos", default=64, show_default=True, type=click.IntRange(1),
              help="Photos decoded, waiting or being answered at a time; likewise.")  # fmt: skip
@click.option(
    "--batch-size", default=8, show_default=True, type=click.IntRange(1), help="Photos a step of the network."
)
@click.option("--threads", type=click.IntRange(1), help="Processors to use.  [default: all]")
def serve_command(
    model: Path | None,
    host: str,
    port: int,
    api_key: str,
    page: bool,
    max_mb: float,
    max_megapixels: float,
    max_seconds: float,
    threads: int | None,
    **limits: Any,
) -> None:
    """A page and a REST API that answer for photos, until Ctrl-C.

    The page is at http://HOST:PORT/; POST /v1/predict takes photos (multipart field files, or bytes) and gives JSON;
    /openapi.json describes it. Photos stay in memory and are gone after the answer. Logs are JSON lines on stderr.
    """
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(module, "web")
    from allmasked.predictor import open_predictor
    from allmasked.serving import Limits, create_app
    from allmasked.serving_http import run

    limit = Limits(
        max_bytes=max(1, int(max_mb * MIB)), max_pixels=max(1, int(max_megapixels * 1e6)), max_seconds=max_seconds,
        **limits,
    )  # fmt: skip
    listening = _listen(host, port)
    try:
        app = create_app(open_predictor(model, threads=threads), limit, api_key=api_key, page=page)
        shown = f"[{host}]" if ":" in host else host
        where = f"http://{shown}:{listening.getsockname()[1]}/"
        progress.stderr.print(f"listening on {where} (Ctrl-C stops)", markup=False, soft_wrap=True)
        run(app, listening)
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot listen on {host}:{port} ({reason}); give another --host or --port") from None
    return listening
