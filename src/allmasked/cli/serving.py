"""``allmasked serve`` and ``allmasked watch``."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from PIL import Image

from allmasked.cli import options as opt
from allmasked.core.errors import ConfigError, require
from allmasked.core.progress import tell
from allmasked.core.text import printable

if TYPE_CHECKING:
    from allmasked.predictors.predictor import Look

MIB = 1 << 20


@click.command("serve")
@opt.model
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", default=8000, type=click.IntRange(0, 65535), help="0 for any free one.")
@click.option("--api-key", metavar="KEY",
              help="Ask for it in the header X-API-Key; better given as $ALLMASKED_API_KEY.")  # fmt: skip
@click.option("--allow-host", "allow_hosts", multiple=True, metavar="NAME",
              help="A name that this server may be called by, as behind a proxy; may be given more than once."
              "  [default: localhost and 127.0.0.1 where only this machine can reach it, else any]")  # fmt: skip
@click.option("--allow-origin", "allow_origins", multiple=True, metavar="http://HOST:PORT",
              help="Pages of this server may use the REST API, too (CORS); may be given more than once.")  # fmt: skip
@click.option("--page/--no-page", default=True, help="Serve the page, or the REST API only.")
@click.option("--max-mb", default=32.0, type=opt.ABOVE_0,
              help="Largest request, in MiB.")  # fmt: skip
@click.option("--max-megapixels", default=50.0, type=opt.ABOVE_0,
              help="Largest photo, in megapixels.")  # fmt: skip
@click.option("--max-files", default=32, type=click.IntRange(1), help="Most photos in one request.")
@click.option("--max-seconds", default=30.0, type=opt.ABOVE_0,
              help="Longest time for a request to arrive, and then for its answer.")  # fmt: skip
@click.option("--max-requests", default=32, type=click.IntRange(1),
              help="Requests for answers at a time; more get 503 with Retry-After.")  # fmt: skip
@click.option("--max-photos", default=64, type=click.IntRange(1),
              help="Photos decoded, waiting or being answered at a time; likewise.")  # fmt: skip
@opt.batch_size(8)
@opt.look
@click.option("--drain-seconds", default=0.0, type=opt.FiniteRange(0),
              help="After SIGTERM, go on so long with 503 at /readyz, for a proxy that asks there.")  # fmt: skip
@opt.threads
@opt.device
def serve_command(
    model: Path | None, host: str, port: int, api_key: str | None, allow_hosts: tuple[str, ...],
    allow_origins: tuple[str, ...], page: bool, max_mb: float, max_megapixels: float, look: Look, drain_seconds: float,
    threads: int | None, device: str, **limits: Any,
) -> None:  # fmt: skip
    """A page and a REST API that answer for photos, until Ctrl-C.

    The page is at http://HOST:PORT/; POST /v1/predict takes photos (multipart field files, or bytes) and gives JSON;
    /openapi.json describes it. Photos stay in memory and are gone after the answer. Logs are JSON lines on stderr.
    Ctrl-C and SIGTERM finish what was begun and exit with 0.
    """
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(module, "web")
    from allmasked.model import load
    from allmasked.predictors.predictor import check_look
    from allmasked.serving.app import Limits, create_app
    from allmasked.serving.guard import hosts_of, is_loopback, origins_of
    from allmasked.serving.http import run, start_logs

    key = _key(api_key)
    limit = Limits(max_bytes=max(1, int(max_mb * MIB)), max_pixels=max(1, int(max_megapixels * 1e6)), **limits)
    origins = origins_of(allow_origins)
    listening = listen(host, port)
    try:
        address = listening.getsockname()[0]
        hosts = hosts_of(address, allow_hosts)
        opened = load(model, threads=threads, device=device)
        predictor = opened.predictor
        check_look(predictor, look)
        opened(Image.new("RGB", (64, 64)))  # what is wrong with the network, or the memory, is told before it listens
        app = create_app(predictor, limit, api_key=key, page=page, look=look, hosts=hosts, origins=origins)
        start_logs()
        log = logging.getLogger("allmasked.serving")
        if not key and not is_loopback(address):
            log.warning(f"whoever reaches {host} over the network can use this server; set $ALLMASKED_API_KEY")
        shown = f"[{host}]" if ":" in host else host
        where = f"http://{shown}:{listening.getsockname()[1]}/"
        if sys.stderr.isatty():
            tell(f"listening on {where} (Ctrl-C stops)")
        else:
            log.info("listening", extra={"fields": {"address": where}})
        run(app, listening, drain_seconds=drain_seconds)
    finally:
        listening.close()


def _key(given: str | None) -> str:
    """The API key; empty where none is wanted."""
    where = "--api-key" if given is not None else "$ALLMASKED_API_KEY"
    key = os.environ.get("ALLMASKED_API_KEY") if given is None else given
    if key is None:
        return ""
    if not key.strip() or not key.isprintable() or not key.isascii():
        what = "is set, but empty" if not key.strip() else "holds signs that a header can't"
        raise ConfigError(f"{where} {what}; give a key, or leave it out to serve without one")
    return key.strip()


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address. Raises :class:`ConfigError`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen()  # at once, so that a second server on this port is told
        except OSError:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = (getattr(error, "strerror", "") or str(error)).lower()
        raise ConfigError(f"cannot listen on {host}:{port} ({reason}); give another --host or --port") from None
    return listening


@click.command("watch")
@click.argument("source", metavar="SOURCE")
@opt.model
@click.option("--every", "every_seconds", default=1.0, type=opt.FiniteRange(0), metavar="SECONDS",
              help="Time between two looks; 0: as often as possible.")  # fmt: skip
@click.option("--smooth", "smooth_seconds", type=opt.FiniteRange(0), metavar="SECONDS",
              help="Time constant of the mean over time, 0 for none.  [default: 2; 0 for a folder]")  # fmt: skip
@click.option("--margin", default=0.1, type=opt.SHARE,
              help="How much likelier a new answer must be than the last one told.")  # fmt: skip
@click.option("--all", "every_answer", is_flag=True,
              help="Tell every answer, not only changes; always so for a folder.")  # fmt: skip
@click.option("--existing", is_flag=True, help="Of a folder: begin with the photos that are there already.")
@click.option("--out", type=opt.FILE, help="Append events here instead of to stdout.")
@click.option("--webhook", metavar="URL", help="POST each event there, too, as JSON; no redirect is followed.")
@click.option("--webhook-private", is_flag=True, help="Let URL be of this machine or a private network.")
@click.option("--webhook-secret", metavar="FILE", type=opt.FILE,
              help="Sign each POST (HMAC-SHA256 of the body in X-Allmasked-Signature) with the secret in FILE, or in"
              " $ALLMASKED_WEBHOOK_SECRET.")  # fmt: skip
@click.option("--webhook-authorization", metavar="FILE", type=opt.FILE,
              help="Send the header Authorization with what stands in FILE, or in $ALLMASKED_WEBHOOK_AUTHORIZATION,"
              " such as 'Bearer ...'.")  # fmt: skip
@click.option("--video", metavar="FILE.mp4", type=opt.FILE,
              help="Write the pictures looked at, with faces and answer, as a video.")  # fmt: skip
@click.option("--for", "for_seconds", default=0.0, type=opt.FiniteRange(0), metavar="SECONDS", show_default=False,
              help="End after this time.")  # fmt: skip
@opt.look
@opt.threads
@opt.device
def watch_command(
    source: str, model: Path | None, smooth_seconds: float | None, every_answer: bool, out: Path | None,
    webhook: str | None, webhook_private: bool, webhook_secret: Path | None, webhook_authorization: Path | None,
    threads: int | None, device: str, video: Path | None, look: Look, **plan: Any,
) -> None:  # fmt: skip
    """Answer for a camera, a video, a stream or a folder, over time: one JSON line per event, until it ends or Ctrl-C.

    SOURCE is a camera's number (0 is the first), a video file, an address (rtsp://, http:// ...), or a folder (here, or
    s3://, gs://, az://) whose new photos are answered as they arrive. A live source that is lost is opened again; what
    it showed while the network was busy is left out; a whole file behind http:// is looked at as one on disk is. Exit
    code 1 where photos of a folder, or parts of a video, could not be read.
    """
    from allmasked.model import load
    from allmasked.predictors.predictor import check_look
    from allmasked.watching.sources import source_of
    from allmasked.watching.watch import Watch, watch
    from allmasked.watching.webhook import Webhook

    found = source_of(source)
    if video is not None and video.suffix.lower() != ".mp4":
        raise click.UsageError("--video wants a name that ends in .mp4")
    if found.kind != "folder" or video is not None:
        require("av", "web")
    folder = found.kind == "folder"
    if smooth_seconds is None:
        smooth_seconds = 0.0 if folder else 2.0
    secret = _secret(webhook_secret, "webhook-secret")
    authorization = _secret(webhook_authorization, "webhook-authorization")
    hook = None
    if webhook:
        hook = Webhook(webhook, private=webhook_private, secret=secret, authorization=authorization, complain=tell)
    elif webhook_private or webhook_secret or webhook_authorization:
        raise click.UsageError("--webhook-private, -secret and -authorization are of use with --webhook only")
    opened = load(model, threads=threads, device=device)
    check_look(opened.predictor, look)
    unreadable = 0
    with contextlib.ExitStack() as stack:
        if hook is not None:
            stack.callback(hook.close)
        stream = stack.enter_context(out.open("a", encoding="utf-8")) if out is not None else sys.stdout

        def emit(event: dict[str, Any]) -> None:
            nonlocal unreadable
            stream.write(json.dumps(event) + "\n")
            stream.flush()
            if hook is not None:
                hook(event)
            if event["event"] in ("lost", "back", "unreadable"):
                unreadable += event["event"] == "unreadable"
                tell(printable(f"{event['event']}: {event['why']}"))

        plan |= {"smooth_seconds": smooth_seconds, "every_answer": every_answer or folder, "video": video, "look": look}
        watch(opened, Watch(found, **plan), emit, _until_signal(stack))
    if unreadable:
        click.get_current_context().exit(1)


def _secret(file: Path | None, option: str) -> str:
    """What stands in a file or in the environment, in one line; empty where neither is given."""
    variable = f"ALLMASKED_{option.upper().replace('-', '_')}"
    if file is None:
        where, text = f"${variable}", os.environ.get(variable)
        if text is None:
            return ""
    else:
        where = f"--{option} {file}"
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}: cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
    text = text.strip()
    if not text or not text.isprintable() or not text.isascii():
        raise ConfigError(f"{where}: must hold one line of plain (ASCII) text")
    return text


def _until_signal(stack: contextlib.ExitStack) -> threading.Event:
    """An event that SIGINT and SIGTERM set; the second one ends at once."""
    stop = threading.Event()

    def caught(number: int, _frame: Any) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, caught) for number in (signal.SIGINT, signal.SIGTERM)}
    stack.callback(lambda: [signal.signal(number, handler) for number, handler in before.items()])
    return stop
