"""Downloading public traces with pooch; going on where a download broke is added here."""

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pooch
import requests

from sageserve_lib.common.files import Lock, sha256_of, write_whole
from sageserve_lib.errors import InputError, SageServeError
from sageserve_lib.traces.fetch.sources import Source

LARGEST_BYTES = 8_000_000_000  # of a trace whose size is not known: a wrong address must not fill the disk
PAUSES_S = (0, 1, 2, 4, 8)  # before each attempt
TIMEOUT_S = (15.0, 60.0)  # to connect, and between two pieces
PIECE_BYTES = 65_536  # a connection that breaks loses less
_TRY_AGAIN = {206, 408, 416, 425, 429, 500, 502, 503, 504}
_PASSING = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

#: Told how many bytes there are, of how many (None where the server does not say).
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Fetched:
    """A public trace that is there; ``notes`` say how it was checked, and what is worth knowing."""

    path: Path
    downloaded: bool
    notes: tuple[str, ...]


def fetch(name: str, source: Source, folder: Path, progress: Progress = lambda done, total: None) -> Fetched:
    """Download a public trace into a folder, unless the right file is there; another file is never replaced.

    What comes lands in ``.<name>.partial``, and the next call goes on from there if the server still has the same file.
    Where no SHA-256 is published, the one that came is kept in ``<file>.sha256``, and a later download must have it.

    Raises
    ------
    InputError
        If the trace is no single file, or a file in the folder stands in the way.
    SageServeError
        If the file cannot be had (no network, not there, too large, disk full), or is not the one that was published.
    """
    if source.file is None:
        raise InputError(f"{name} is no single file to download. {source.instructions}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder to write to")
    target, remembered = folder / source.file, folder / f"{source.file}.sha256"
    download = _Download(folder / f".{name}.partial", folder / f".{name}.partial.from", source.size_bytes, progress)
    lock = Lock(folder / f".{name}.partial.lock")
    whose = "the published one" if source.sha256 else f"that of an earlier download ({remembered.name})"
    try:
        known = source.sha256
        if not known and remembered.exists():  # in the form that sha256sum writes
            known = remembered.read_text(encoding="utf-8", errors="replace")[:64]
            if not re.fullmatch("[0-9a-f]{64}", known):
                raise InputError(f"{remembered} does not begin with a SHA-256; delete it to compare with nothing.")
        if target.exists():
            if (found := sha256_of(target)) != known:
                but = f"expected {known}" if known else "there is none to compare it with"
                raise InputError(f"{target} is there with SHA-256 {found}; {but}. Move it away to fetch {name}.")
            return Fetched(target, False, ("It was there already, with the right SHA-256.",))
        folder.mkdir(parents=True, exist_ok=True)
        if not lock.acquire():
            raise InputError(f"{name} is being fetched into {folder} by another process; wait for it to end.")
        _from_first_of(source.urls, target, known, download)
        found = known or sha256_of(target)
        if not known:
            write_whole(remembered, f"{found}  {target.name}\n")
    except ValueError as error:
        raise SageServeError(f"{error} The known hash is {whose}. The next fetch starts anew.") from error
    except OSError as error:
        what = f"{error.filename or target} cannot be read or written: {error.strerror or error}"
        raise SageServeError(f"{what}. When it can, the same command goes on from what has come.") from error
    finally:
        lock.release()
    none = f"No SHA-256 is published to compare with. It is {found}, kept in {remembered.name} for next time."
    return Fetched(target, True, (f"Its SHA-256 is {whose}." if known else none, *source.notes))


def _from_first_of(urls: tuple[str, ...], target: Path, known: str | None, download: "_Download") -> None:
    pooch.get_logger().setLevel("WARNING")
    reasons = []
    for url in urls:
        # Not pooch's own attempts: those download again, each time, what has a wrong checksum too.
        for pause_s in PAUSES_S:
            time.sleep(pause_s)
            try:
                pooch.retrieve(url, known, fname=target.name, path=target.parent.absolute(), downloader=download)
                return
            except _PASSING as error:
                reason: BaseException = error
                while inner := reason.__cause__ or reason.__context__:
                    reason = inner  # the outer ones only name objects of the library
                why = f"no luck in {len(PAUSES_S)} attempts (is there a network?), the last: {reason}"
            except requests.RequestException as error:
                redirected = isinstance(error, requests.exceptions.InvalidSchema)
                why = f"its redirect is not followed: {error}" if redirected else str(error)
                break
        else:
            if have := download.kept(url)[0]:  # another address would start anew
                kept = f"{have:,} bytes are kept in {download.partial}: the same command goes on from there."
                raise SageServeError(f"{target.name} is not complete: {why}. {kept}")
            download.forget()
        reasons.append(f"{urlsplit(url).hostname}: {why}")
    raise SageServeError(f"{target.name} cannot be fetched. {'; '.join(reasons)}.")


@dataclass
class _Download:
    """A downloader for pooch that goes on where an earlier one broke, and holds the server to a size."""

    partial: Path
    note: Path  # the address it is from, and by what the server knows the version
    size_bytes: int | None
    progress: Progress

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        have, version = self.kept(url)
        if not have or have != self.size_bytes:  # equal where it was stopped after the last byte
            # Compressed on the way, neither lengths nor ranges would be those of the file.
            headers = {"Accept-Encoding": "identity"}
            if have:
                headers |= {"Range": f"bytes={have}-", "If-Range": version}
            with requests.Session() as session:
                if url.startswith("https:"):
                    del session.adapters["http://"]  # so that no redirect leads there
                with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
                    self._save(response, url, have)
        self.partial.replace(output_file)
        self.forget()

    def _save(self, response: requests.Response, url: str, have: int) -> None:
        status, headers = response.status_code, response.headers
        part = re.fullmatch(rf"bytes {have}-\d+/(\d+)", headers.get("Content-Range", "")) if status == 206 else None
        if status != 200 and not part:
            if status in {206, 416}:  # it does not go on from there
                self.forget()
            kind = requests.ConnectionError if status in _TRY_AGAIN else requests.RequestException
            raise kind(f"the server answers {status} {response.reason}")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise requests.RequestException("the server insists on compressing it, so that it cannot be checked")
        length = part[1] if part else headers.get("Content-Length", "")
        total, most = int(length) if length.isdecimal() else None, self.size_bytes or LARGEST_BYTES
        if total is not None and (total > most or self.size_bytes not in {None, total}):
            rule = "are published: it is another file" if self.size_bytes else "are allowed at most"
            raise requests.RequestException(f"the server has {total:,} bytes, but {most:,} {rule}")
        total, have = self.size_bytes or total, have if part else 0
        needed, free = (total or 0) - have, shutil.disk_usage(self.partial.parent).free
        if needed > free - 50_000_000:  # some is left for others
            what = f"{needed:,} bytes more are needed, and the disk of {self.partial.parent} has {free:,} free"
            raise SageServeError(f"{what}: make room, or choose another folder, and fetch it again.")
        if not have:
            self.forget()  # a link that lay in its place too
            etag = headers.get("ETag", "")  # a weak one does not promise the same bytes
            write_whole(self.note, "\n".join([url, etag if etag.startswith('"') else headers.get("Last-Modified", "")]))
        with self.partial.open("ab") as stream:
            for piece in response.iter_content(PIECE_BYTES):
                if (have := have + len(piece)) > most:
                    break
                stream.write(piece)
                self.progress(have, total)
            stream.flush()
            os.fsync(stream.fileno())
        if have > most:
            self.forget()
            raise requests.RequestException(f"the server sends more than {most:,} bytes")
        if total is not None and have < total:
            raise requests.ConnectionError(f"the connection ended after {have:,} of {total:,} bytes")

    def kept(self, url: str) -> tuple[int, str]:
        """How many bytes there are to go on from, and their version."""
        if not self.note.is_file() or not self.partial.is_file() or self.partial.is_symlink():
            return 0, ""
        noted, _, version = self.note.read_text(encoding="utf-8", errors="replace").partition("\n")
        return (self.partial.stat().st_size, version) if noted == url and version else (0, "")

    def forget(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
