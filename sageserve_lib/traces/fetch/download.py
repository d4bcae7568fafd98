"""Downloading the public traces named in ``data/sources.yaml``: resumable, bounded, and checked before it counts."""

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpx

from sageserve_lib.common.files import Lock, sha256_of, write_whole
from sageserve_lib.errors import InputError, SageServeError
from sageserve_lib.traces.fetch.sources import Source, load_sources, source_of

#: Of a trace whose size is not known beforehand. A wrong address must not fill the disk.
LARGEST_BYTES = 8_000_000_000
#: Left free on the disk.
_SPARE_BYTES = 50_000_000
_MOST_REDIRECTS = 10
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}

#: Told how many bytes there are, of how many (None where the server does not say).
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Fetched:
    """A public trace that is there.

    Attributes
    ----------
    path : Path
    sha256 : str
        Of the file.
    size_bytes : int
    downloaded : bool
        False where the checked file was there already.
    notes : tuple of str
        How it was checked, and what is worth knowing.
    """

    path: Path
    sha256: str
    size_bytes: int
    downloaded: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to try it: pauses double from the first."""

    attempts: int = 5
    first_pause_s: float = 1.0
    connect_s: float = 15.0
    read_s: float = 60.0


class _TryAgainError(Exception):
    """A passing fault; the text says which."""


class _NotHereError(Exception):
    """An address does not give the trace; the text says why."""


def fetch(
    name: str,
    folder: Path,
    *,
    sources: dict[str, Source] | None = None,
    progress: Progress = lambda done, total: None,
    patience: Patience | None = None,
    limit_bytes: int = LARGEST_BYTES,
) -> Fetched:
    """Download a public trace into a folder, unless the checked file is there.

    What comes lands in ``.<name>.partial`` and goes on from there at the next call, if the server still has the same
    file. It gets its name when length and SHA-256 are right. Where the SHA-256 is not published, the one that came is
    written beside the file (``<file>.sha256``), and a later download must have the same. A file with another SHA-256
    is set aside as ``<file>.bad``, and the next call starts anew. A file that is there already is never replaced.

    Parameters
    ----------
    name : str
        One of :func:`sageserve_lib.sources.load_sources`.
    folder : Path
        Made where it is not there; nothing is written outside.
    sources : dict, optional
        In place of the project's.
    progress : callable
        Told now and then how far it is.
    patience : Patience, optional
    limit_bytes : int
        The largest file to accept where the size is not known beforehand.

    Raises
    ------
    InputError
        If the name is unknown, is of a trace that is no single file, or a file in the folder stands in the way.
    SageServeError
        If the file cannot be had (no network, not there, too large, disk full), or is not the one that was published.
    """
    source = source_of(name, load_sources() if sources is None else sources)
    if source.file is None:
        raise InputError(f"{name} is no single file to download. {source.instructions}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder to write to")
    target = folder / source.file
    with _disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f".{name}.partial"
        if os.path.lexists(target):
            return _already_there(name, source, target)
        with _alone(path, name):
            # Another process may have finished it in between.
            if os.path.lexists(target):
                return _already_there(name, source, target)
            expected = source.sha256 or _remembered(target)
            with _partial(path) as partial:
                download = _Download(name, source, path, partial, progress, patience or Patience(), limit_bytes)
                download.run()
                partial.flush()
                os.fsync(partial.fileno())
                partial.close()  # Windows does not rename what is open
                found = sha256_of(path)
                if expected and found != expected:
                    path.replace(target.with_name(f"{target.name}.bad"))
                    download.forget()
                    whose = "is published" if source.sha256 else f"an earlier download had ({target.name}.sha256)"
                    raise SageServeError(
                        f"{target.name} came with SHA-256 {found}, but {expected} {whose}: it is another file. It is "
                        f"kept as {target}.bad for you to look at, and not used; the next fetch starts anew."
                    )
                if not source.sha256:
                    write_whole(target.with_name(f"{target.name}.sha256"), f"{found}  {target.name}\n")
                path.replace(target)
                download.forget()
        size_bytes = target.stat().st_size
    if source.sha256:
        check = "Its SHA-256 is the published one."
    elif expected:
        check = f"Its SHA-256 is that of an earlier download ({found}); none is published."
    else:
        check = f"No SHA-256 is published to compare with. It is {found}, kept in {target.name}.sha256 for next time."
    return Fetched(target, found, size_bytes, True, (check, *source.notes))


def _already_there(name: str, source: Source, target: Path) -> Fetched:
    expected = source.sha256 or _remembered(target)
    if target.is_symlink() or not target.is_file():
        raise InputError(f"{target} is there and is no plain file; move it away to fetch {name}.")
    found = sha256_of(target)
    if found != expected:
        wanted = f"expected {expected}" if expected else "there is none to compare it with"
        raise InputError(
            f"{target} is there with SHA-256 {found}; {wanted}. It is left as it is: move it away to fetch {name}."
        )
    note = "It was there already, with the right SHA-256."
    return Fetched(target, found, target.stat().st_size, False, (note,))


class _Download:
    """Brings a partial file to its full length: addresses in order, each with a few attempts."""

    def __init__(
        self,
        name: str,
        source: Source,
        path: Path,
        partial: BinaryIO,
        progress: Progress,
        patience: Patience,
        limit_bytes: int,
    ) -> None:
        self._name, self._source, self._path, self._partial = name, source, path, partial
        self._progress, self._patience, self._limit_bytes = progress, patience, limit_bytes
        self._facts_file = _facts_file(path)
        self._facts = _read_facts(self._facts_file)

    def run(self) -> None:
        """Download what is missing."""
        reasons = []
        for url in self._source.urls:
            try:
                return self._from(url)
            except _NotHereError as error:
                reasons.append(f"{urlsplit(url).hostname}: {error}")
        raise SageServeError(f"{self._name} cannot be fetched. {'; '.join(reasons)}.")

    def forget(self) -> None:
        """Remove what was noted for going on."""
        self._facts_file.unlink(missing_ok=True)

    def _from(self, url: str) -> None:
        patience = self._patience
        reason = ""
        with _client(url, patience) as client:
            for attempt in range(patience.attempts):
                if attempt:
                    time.sleep(patience.first_pause_s * 2 ** (attempt - 1))
                try:
                    return self._attempt(client, url)
                except _TryAgainError as error:
                    reason = str(error)
                except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
                    raise _NotHereError(f"its redirect is not followed: {error}") from error
                except httpx.TransportError as error:
                    reason = f"{type(error).__name__} {error}".strip()
        have = self._length()
        what = f"no luck in {patience.attempts} attempts, the last: {reason}"
        if not have:
            raise _NotHereError(f"{what} (is there a network?)")
        raise SageServeError(
            f"{self._name} is not complete. {urlsplit(url).hostname}: {what}. {have:,} bytes are kept in {self._path}: "
            f"the same command goes on from there."
        )

    def _attempt(self, client: httpx.Client, url: str) -> None:
        have = self._length()
        validator = self._facts.get("validator") if self._facts.get("url") == url else None
        # Compressed on the way, neither lengths nor ranges would be those of the file.
        headers = {"Accept-Encoding": "identity"}
        if have and validator:
            if have == self._facts.get("total"):
                return  # it was stopped after the last byte
            headers |= {"Range": f"bytes={have}-", "If-Range": str(validator)}
        with client.stream("GET", url, headers=headers) as response:
            self._take(response, url, have if "Range" in headers else 0)

    def _take(self, response: httpx.Response, url: str, asked_from: int) -> None:
        status = response.status_code
        answer = f"the server answers {status} {response.reason_phrase}".strip()
        if status in _TRY_AGAIN:
            raise _TryAgainError(answer)
        total = _total(response, asked_from)
        if status == 416 or (status == 206 and total is None):
            self._start_anew()
            raise _TryAgainError("the server does not go on from what there was")
        if status not in {200, 206}:
            raise _NotHereError(answer)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _NotHereError("the server insists on compressing it, so that it can be neither resumed nor checked")
        if status == 200:
            asked_from = 0
        self._check_size(total, asked_from)
        if status == 200:
            self._start_anew()
            self._note(url, _validator(response), total)
        self._write(response, asked_from, total)

    def _check_size(self, total: int | None, have: int) -> None:
        known = self._source.size_bytes
        if total is not None and known is not None and total != known:
            raise _NotHereError(f"the server has {total:,} bytes, but {known:,} were published: it is another file")
        if total is not None and known is None and total > self._limit_bytes:
            raise _NotHereError(f"the server has {total:,} bytes, more than the {self._limit_bytes:,} that are allowed")
        needed = (known or total or 0) - have
        free = shutil.disk_usage(self._path.parent).free
        if needed + _SPARE_BYTES > free:
            raise SageServeError(
                f"{self._name} needs {needed:,} bytes more, and the disk has {free:,} free: make room, or choose "
                f"another folder, and fetch it again."
            )

    def _write(self, response: httpx.Response, have: int, total: int | None) -> None:
        wanted = self._source.size_bytes or total
        most = self._source.size_bytes or self._limit_bytes
        self._partial.seek(have)
        self._progress(have, wanted)
        for piece in response.iter_raw():
            have += len(piece)
            if have > most:
                self._start_anew()
                raise _NotHereError(f"the server sends more than {most:,} bytes")
            self._partial.write(piece)
            self._partial.flush()
            self._progress(have, wanted)
        if wanted is not None and have < wanted:
            raise _TryAgainError(f"the connection ended after {have:,} of {wanted:,} bytes")

    def _length(self) -> int:
        return os.fstat(self._partial.fileno()).st_size

    def _start_anew(self) -> None:
        self._partial.seek(0)
        self._partial.truncate()
        self.forget()
        self._facts = {}

    def _note(self, url: str, validator: str | None, total: int | None) -> None:
        self._facts = {"url": url, "validator": validator, "total": total}
        write_whole(self._facts_file, json.dumps(self._facts))


def _client(url: str, patience: Patience) -> httpx.Client:
    allowed = {"https"} if url.startswith("https:") else {"http", "https"}

    def refuse_other_schemes(request: httpx.Request) -> None:
        if request.url.scheme not in allowed:
            msg = f"it leads to {request.url}, expected {' or '.join(sorted(allowed))}"
            raise httpx.UnsupportedProtocol(msg, request=request)

    return httpx.Client(
        timeout=httpx.Timeout(patience.read_s, connect=patience.connect_s),
        follow_redirects=True,
        max_redirects=_MOST_REDIRECTS,
        event_hooks={"request": [refuse_other_schemes]},
    )


def _total(response: httpx.Response, asked_from: int) -> int | None:
    """Length of the whole file, if the server says; None for a part that is not the one asked for."""
    if response.status_code == 206:
        part = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if part is None or not asked_from or int(part[1]) != asked_from or int(part[2]) + 1 != int(part[3]):
            return None
        return int(part[3])
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _validator(response: httpx.Response) -> str | None:
    """What tells whether the file is still the same: a weak ETag does not, byte by byte."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _facts_file(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _read_facts(file: Path) -> dict[str, Any]:
    try:
        facts = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


@contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    """The partial file is this process's alone."""
    lock = Lock(path.with_name(f"{path.name}.lock"))
    if not lock.acquire():
        raise InputError(f"{name} is being fetched into {path.parent} by another process; wait for it to end.")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _partial(path: Path) -> Iterator[BinaryIO]:
    """The partial file; removed again if nothing came."""
    # A link in its place could lead anywhere (Windows has no such flag, and few links).
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(path, flags, 0o666), "r+b")
    try:
        yield stream
    finally:
        stream.close()
        if path.exists() and not path.stat().st_size:
            path.unlink()
            _facts_file(path).unlink(missing_ok=True)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Errors of the disk, in a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            msg = f"The disk of {folder} is full. What came is kept: make room and fetch it again to go on."
        else:
            msg = f"{error.filename or folder} cannot be read or written: {error.strerror or error}"
        raise SageServeError(msg) from error


def _remembered(target: Path) -> str | None:
    """SHA-256 of an earlier download, in the form that sha256sum writes."""
    file = target.with_name(f"{target.name}.sha256")
    if not file.exists():
        return None
    found = re.match(r"[0-9a-f]{64}\b", file.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise InputError(f"{file} does not begin with a SHA-256; delete it if nothing is to be compared.")
    return found[0]
