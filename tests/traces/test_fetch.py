"""Fetching public traces, from a server on this machine that misbehaves as asked."""

import errno
import hashlib
import io
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from conftest import shared
from typer.testing import CliRunner

from sageserve_lib import cli
from sageserve_lib.cli import fetch as cli_fetch
from sageserve_lib.common.files import Lock
from sageserve_lib.errors import InputError, SageServeError
from sageserve_lib.traces import fetch as known
from sageserve_lib.traces.fetch import Fetched, Source, load_sources, source_of
from sageserve_lib.traces.fetch import download as fetching
from sageserve_lib.traces.fetch import sources as sourcing

CONTENT = bytes(range(256)) * 4000
OTHER = CONTENT[::-1]
PAUSES_S = fetching.PAUSES_S
ATTEMPTS = 3
PARTIAL, NOTE = ".t.partial", ".t.partial.from"


@dataclass
class Site:
    """What the server gives at every path, and what it was asked."""

    address: str = ""
    content: bytes = CONTENT
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    ranges: bool = True
    part_from: int | None = None
    tells_length: bool = True
    #: For the coming requests: statuses to answer with, and the bytes of the answer after which to hang up.
    statuses: list[int] = field(default_factory=list)
    hang_ups: list[int] = field(default_factory=list)
    redirects: list[str] = field(default_factory=list)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    encodings: set[str | None] = field(default_factory=set)

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        asked, condition = handler.headers["Range"], handler.headers["If-Range"]
        self.asked.append((handler.path, asked, condition))
        self.encodings.add(handler.headers["Accept-Encoding"])
        if self.redirects:
            handler.send_response(302)
            handler.send_header("Location", self.redirects.pop(0))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        same = condition in {self.headers.get("ETag"), self.headers.get("Last-Modified")}
        start = 0
        if asked and self.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            first = start if self.part_from is None else self.part_from
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        else:
            handler.send_response(200)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        body = self.content[start:]
        if self.tells_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.hang_ups.pop(0)] if self.hang_ups else body)
        handler.close_connection = True


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetching, "PAUSES_S", (0,) * ATTEMPTS)
    monkeypatch.setattr(fetching, "TIMEOUT_S", (5.0, 5.0))
    monkeypatch.setattr(fetching, "PIECE_BYTES", 1000)
    here = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with suppress(ConnectionError):  # a reader that has refused the head does not wait for the body
                here.respond(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    server.shutdown()
    server.server_close()
    thread.join()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def source(*urls: str, **changes: Any) -> Source:
    given = {
        "title": "a trace",
        "urls": urls,
        "file": "t.csv",
        "format": "azure",
        "sha256": digest(CONTENT),
        "size_bytes": len(CONTENT),
        "licence": "CC-BY 4.0",
        "licence_url": "https://example.org",
        "citation": "A. Nobody. A trace. 2026.",
        "known_from": "a test",
    }
    return Source.model_validate(given | changes)


def get(site: Site, folder: Path, *, urls: tuple[str, ...] = (), **changes: Any) -> Fetched:
    return fetching.fetch("t", source(*(urls or (f"{site.address}/t.csv",)), **changes), folder)


def fails(site: Site, folder: Path, kind: type[SageServeError] = SageServeError, **options: Any) -> str:
    with pytest.raises(kind) as refused:
        get(site, folder, **options)
    assert type(refused.value) is kind
    return str(refused.value)


def names(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


def ranges(site: Site) -> list[str | None]:
    return [asked for _, asked, _ in site.asked]


def interrupted(site: Site, folder: Path, bytes_kept: int, **options: Any) -> None:
    """A fetch that gets only the beginning, at every attempt."""
    site.hang_ups = [bytes_kept, *[0] * (ATTEMPTS - 1)]
    fails(site, folder, **options)
    assert (folder / PARTIAL).stat().st_size == bytes_kept
    site.asked.clear()


def test_file_is_whole_checked_and_alone(site: Site, tmp_path: Path) -> None:
    done = get(site, tmp_path / "new" / "raw", notes=("Mind the gap.",))
    assert done.path == tmp_path / "new" / "raw" / "t.csv"
    assert done.path.read_bytes() == CONTENT
    assert done.downloaded
    assert done.notes == ("Its SHA-256 is the published one.", "Mind the gap.")
    assert names(done.path.parent) == {"t.csv"}


def test_second_fetch_asks_nothing(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path)
    site.asked.clear()
    again = get(site, tmp_path)
    assert not again.downloaded
    assert site.asked == []


@pytest.mark.parametrize("etag", [True, False])
def test_dropped_connection_goes_on_where_it_stopped(site: Site, tmp_path: Path, etag: bool) -> None:
    if not etag:
        # A weak tag does not promise the same bytes; the date must do.
        site.headers = {"ETag": 'W/"1"', "Last-Modified": "Wed, 01 Jul 2026 00:00:00 GMT"}
    validator = '"1"' if etag else site.headers["Last-Modified"]
    site.hang_ups = [300_000, 100_000]
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert site.asked[1:] == [("/t.csv", "bytes=300000-", validator), ("/t.csv", "bytes=400000-", validator)]
    assert names(tmp_path) == {"t.csv"}


def test_next_fetch_goes_on_where_the_last_gave_up(site: Site, tmp_path: Path) -> None:
    site.hang_ups = [300_000, 0, 0]
    message = fails(site, tmp_path)
    assert "300,000 bytes are kept" in message
    assert "goes on from there" in message
    assert not (tmp_path / "t.csv").exists()
    site.asked.clear()
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert ranges(site) == ["bytes=300000-"]
    assert names(tmp_path) == {"t.csv"}


def test_fetch_stopped_after_the_last_byte_downloads_nothing(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path, 300_000)
    (tmp_path / PARTIAL).write_bytes(CONTENT)
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert site.asked == []


def test_file_that_changed_meanwhile_starts_anew(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path, 300_000, sha256=None, size_bytes=None)
    site.content, site.headers = OTHER[:200_000], {"ETag": '"2"'}
    assert get(site, tmp_path, sha256=None, size_bytes=None).path.read_bytes() == OTHER[:200_000]
    assert ranges(site) == ["bytes=300000-"]


def test_server_without_ranges_starts_anew(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.hang_ups = [300_000]
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=300000-"]


def test_server_that_tells_no_version_starts_anew(site: Site, tmp_path: Path) -> None:
    site.headers = {}
    site.hang_ups = [300_000]
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert ranges(site) == [None, None]


@pytest.mark.parametrize("fault", ["another part", "no such part"])
def test_wrong_part_is_not_put_behind_the_first(site: Site, tmp_path: Path, fault: str) -> None:
    interrupted(site, tmp_path, 300_000)
    site.part_from = 299_999 if fault == "another part" else None
    site.statuses = [416] if fault == "no such part" else []
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert ranges(site) == ["bytes=300000-", None]


def test_part_of_another_address_is_not_continued(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path, 300_000)
    site.content = OTHER
    done = get(site, tmp_path, urls=(f"{site.address}/elsewhere.csv",), sha256=digest(OTHER))
    assert done.path.read_bytes() == OTHER
    assert ranges(site) == [None]


def test_partial_file_of_nobody_knows_what_is_not_continued(site: Site, tmp_path: Path) -> None:
    (tmp_path / PARTIAL).write_bytes(OTHER[:1000])
    (tmp_path / NOTE).write_text("what?")
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert names(tmp_path) == {"t.csv"}


def test_passing_faults_are_tried_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert len(site.asked) == 3


def test_lasting_faults_are_told_after_a_few_attempts(site: Site, tmp_path: Path) -> None:
    site.statuses = [500] * 10
    message = fails(site, tmp_path)
    assert "500" in message
    assert "3 attempts" in message
    assert len(site.asked) == 3
    assert names(tmp_path) == set()


def test_pauses_grow(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(fetching, "PAUSES_S", PAUSES_S)
    monkeypatch.setattr(fetching.time, "sleep", pauses.append)
    site.statuses = [500] * 4
    get(site, tmp_path)
    assert pauses == [0, 1, 2, 4, 8]


def test_missing_file_is_told_at_once_and_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.statuses = [404] * 5
    message = fails(site, tmp_path)
    assert message.startswith("t.csv cannot be fetched")
    assert "404 Not Found" in message
    assert len(site.asked) == 1
    assert names(tmp_path) == set()


def test_next_address_is_tried_where_the_first_is_gone(site: Site, tmp_path: Path) -> None:
    site.statuses = [409]
    urls = (f"{site.address}/gone.csv", f"{site.address}/t.csv")
    assert get(site, tmp_path, urls=urls).path.read_bytes() == CONTENT
    assert [path for path, _, _ in site.asked] == ["/gone.csv", "/t.csv"]


def test_what_an_address_gave_is_not_thrown_away_for_the_next(site: Site, tmp_path: Path) -> None:
    urls = (f"{site.address}/t.csv", f"{site.address}/elsewhere.csv")
    interrupted(site, tmp_path, 300_000, urls=urls)
    assert get(site, tmp_path, urls=urls).path.read_bytes() == CONTENT
    assert site.asked == [("/t.csv", "bytes=300000-", '"1"')]


def test_interrupted_fetch_goes_on_and_leaves_nothing_under_the_name(site: Site, tmp_path: Path) -> None:
    def interrupt(done: int, total: int | None) -> None:
        if done == 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetching.fetch("t", source(f"{site.address}/t.csv"), tmp_path, interrupt)
    assert names(tmp_path) == {PARTIAL, NOTE}
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=300000-"]
    assert names(tmp_path) == {"t.csv"}


def test_no_network_is_told(site: Site, tmp_path: Path) -> None:
    message = fails(site, tmp_path, urls=("http://127.0.0.1:1/t.csv",))
    assert "Connection refused" in message
    assert "is there a network?" in message
    assert names(tmp_path) == set()


def test_silent_server_is_given_up(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    site.respond = lambda handler: waiting.wait(20) and None
    monkeypatch.setattr(fetching, "PAUSES_S", (0,))
    monkeypatch.setattr(fetching, "TIMEOUT_S", (5.0, 0.05))
    assert "timed out" in fails(site, tmp_path)
    waiting.set()


def test_redirect_is_followed_with_the_range(site: Site, tmp_path: Path) -> None:
    interrupted(site, tmp_path, 300_000)
    site.redirects = [f"{site.address}/signed?token=1"]
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert site.asked[1] == ("/signed?token=1", "bytes=300000-", '"1"')


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/t.csv", "gopher://127.0.0.1/t"])
def test_redirect_elsewhere_is_refused(site: Site, tmp_path: Path, place: str) -> None:
    site.redirects = [place] * 3
    message = fails(site, tmp_path)
    assert "redirect is not followed" in message
    assert place.split(":")[0] in message
    assert len(site.asked) == 1
    assert names(tmp_path) == set()


def test_redirect_from_https_to_http_is_refused(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send = requests.adapters.HTTPAdapter.send

    def redirect(adapter: Any, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if not request.url.startswith("https:"):
            return send(adapter, request, **options)
        response = requests.Response()
        response.status_code, response.request, response.url, response.raw = 302, request, request.url, io.BytesIO()
        response.headers["Location"] = f"{site.address}/t.csv"
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", redirect)
    message = fails(site, tmp_path, urls=("https://example.org/t.csv",))
    assert "redirect is not followed" in message
    assert site.address in message
    assert site.asked == []


def test_endless_redirects_are_refused(site: Site, tmp_path: Path) -> None:
    site.redirects = [f"{site.address}/t.csv"] * 100
    assert "30 redirects" in fails(site, tmp_path)
    assert len(site.asked) == 31


def test_another_length_than_published_is_refused_before_it_is_downloaded(site: Site, tmp_path: Path) -> None:
    message = fails(site, tmp_path, size_bytes=len(CONTENT) + 1)
    assert f"{len(CONTENT):,} bytes" in message
    assert f"{len(CONTENT) + 1:,} are published" in message
    assert len(site.asked) == 1
    assert names(tmp_path) == set()


@pytest.mark.parametrize("tells_length", [True, False])
def test_file_beyond_the_limit_is_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells_length: bool
) -> None:
    site.tells_length = tells_length
    monkeypatch.setattr(fetching, "LARGEST_BYTES", len(CONTENT) - 1)
    told = f"has {len(CONTENT):,} bytes, but" if tells_length else "sends more than"
    assert f"{told} {len(CONTENT) - 1:,}" in fails(site, tmp_path, size_bytes=None)
    assert names(tmp_path) == set()
    monkeypatch.setattr(fetching, "LARGEST_BYTES", len(CONTENT))
    assert get(site, tmp_path, size_bytes=None).path.read_bytes() == CONTENT


def test_more_than_published_is_refused_though_no_length_is_told(site: Site, tmp_path: Path) -> None:
    site.tells_length = False
    site.content = CONTENT + b"!"
    assert f"more than {len(CONTENT):,} bytes" in fails(site, tmp_path)
    assert names(tmp_path) == set()


def test_less_than_published_is_incomplete_though_no_length_is_told(site: Site, tmp_path: Path) -> None:
    site.tells_length = False
    site.hang_ups = [300_000]
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert ranges(site) == [None, "bytes=300000-"]


def test_compressed_answer_is_refused(site: Site, tmp_path: Path) -> None:
    site.headers["Content-Encoding"] = "gzip"
    assert "compressing" in fails(site, tmp_path)
    assert site.encodings == {"identity"}
    assert names(tmp_path) == set()


def test_other_content_is_refused_at_once_and_the_next_fetch_starts_anew(site: Site, tmp_path: Path) -> None:
    site.content = OTHER
    message = fails(site, tmp_path)
    assert digest(OTHER) in message
    assert digest(CONTENT) in message
    assert "known hash is the published one" in message
    assert len(site.asked) == 1
    assert names(tmp_path) == set()
    site.content = CONTENT
    assert get(site, tmp_path).path.read_bytes() == CONTENT
    assert ranges(site) == [None, None]


def test_unpublished_checksum_is_kept_and_compared_with_next_time(site: Site, tmp_path: Path) -> None:
    first = get(site, tmp_path, sha256=None)
    assert digest(CONTENT) in first.notes[0]
    assert (tmp_path / "t.csv.sha256").read_text() == f"{digest(CONTENT)}  t.csv\n"
    assert not get(site, tmp_path, sha256=None).downloaded

    first.path.unlink()
    again = get(site, tmp_path, sha256=None)
    assert again.downloaded
    assert "an earlier download" in again.notes[0]

    first.path.unlink()
    site.content = OTHER
    assert "that of an earlier download (t.csv.sha256)" in fails(site, tmp_path, sha256=None)
    assert names(tmp_path) == {"t.csv.sha256"}
    (tmp_path / "t.csv.sha256").write_text("what?")
    assert "does not begin with a SHA-256" in fails(site, tmp_path, InputError, sha256=None)


@pytest.mark.parametrize("sha256", [digest(CONTENT), None])
def test_file_of_the_users_own_is_left_as_it_is(site: Site, tmp_path: Path, sha256: str | None) -> None:
    (tmp_path / "t.csv").write_text("mine")
    message = fails(site, tmp_path, InputError, sha256=sha256)
    assert digest(b"mine") in message
    assert "Move it away" in message
    assert (tmp_path / "t.csv").read_text() == "mine"
    assert names(tmp_path) == {"t.csv"}
    assert site.asked == []


def test_nothing_is_written_through_links(site: Site, tmp_path: Path) -> None:
    folder, outside = tmp_path / "raw", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("mine")
    (folder / "t.csv").symlink_to(outside)
    assert "Move it away" in fails(site, folder, InputError)
    (folder / "t.csv").unlink()
    (folder / PARTIAL).symlink_to(outside)
    (folder / NOTE).symlink_to(outside)
    (folder / "t.csv").symlink_to(tmp_path / "nowhere")
    (folder / "t.csv.sha256").symlink_to(tmp_path / "nowhere")
    assert get(site, folder, sha256=None).path.read_bytes() == CONTENT
    assert outside.read_text() == "mine"
    assert names(tmp_path) == {"raw", "outside"}


@pytest.mark.parametrize("file", ["../t.csv", "/t.csv", "a/b", "..", ".t", "", "a\nb"])
def test_file_name_cannot_leave_the_folder(file: str) -> None:
    with pytest.raises(ValueError, match="file"):
        source("http://127.0.0.1/t", file=file)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:,x", "/t.csv"])
def test_only_http_addresses_are_sources(url: str) -> None:
    with pytest.raises(ValueError, match="urls"):
        source(url)


def test_full_disk_is_told_before_and_during(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        usage = shutil.disk_usage(tmp_path)
        patch.setattr(fetching.shutil, "disk_usage", lambda folder: usage._replace(free=len(CONTENT)))
        assert f"{len(CONTENT):,} bytes more are needed" in fails(site, tmp_path)
        assert names(tmp_path) == set()
    with monkeypatch.context() as patch:

        def full(descriptor: int) -> None:
            if os.fstat(descriptor).st_size == len(CONTENT):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(fetching.os, "fsync", full)
        assert "No space left on device" in fails(site, tmp_path)
    assert names(tmp_path) == {PARTIAL, NOTE}
    assert get(site, tmp_path).path.read_bytes() == CONTENT


def test_two_fetches_at_once_do_not_mix(site: Site, tmp_path: Path) -> None:
    lock = Lock(tmp_path / f"{PARTIAL}.lock")
    assert lock.acquire()
    assert "by another process" in fails(site, tmp_path, InputError)
    lock.release()
    assert get(site, tmp_path).path.read_bytes() == CONTENT


def test_file_that_another_fetch_just_finished_is_not_written_to(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(lock: Any) -> bool:
        (tmp_path / "t.csv").write_bytes(CONTENT)
        return acquire(lock)

    acquire = fetching.Lock.acquire
    monkeypatch.setattr(fetching.Lock, "acquire", finish)
    get(site, tmp_path)
    assert site.asked == []
    assert names(tmp_path) == {"t.csv"}


def test_folder_that_is_none_is_refused(site: Site, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("")
    assert "is a file" in fails(site, tmp_path / "raw", InputError)
    assert "cannot be read or written" in fails(site, tmp_path / "raw" / "deeper")


def test_progress_goes_up_to_the_whole(site: Site, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    site.hang_ups = [300_000]
    fetching.fetch("t", source(f"{site.address}/t.csv"), tmp_path, lambda *now: told.append(now))
    done = [now for now, _ in told]
    assert done == sorted(done)
    assert 300_000 in done
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(InputError) as refused:
        source_of("azure-2024-con")
    assert "Did you mean 'azure-2024-conv'?" in str(refused.value)
    assert all(name in str(refused.value) for name in load_sources())


def test_repository_gives_instructions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"git clone .*ServeGen"):
        fetching.fetch("servegen", source_of("servegen"), tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("azure-2023-code", "azure_2023_code.csv"),
        ("azure-2023-conv", "azure_2023_conv.csv"),
        ("mooncake-conversation", "mooncake_conversation.jsonl"),
    ],
)
def test_checksums_and_sizes_are_those_of_copies(name: str, file: str) -> None:
    content = shared(f"traces/{file}").read_bytes()
    assert (load_sources()[name].sha256, load_sources()[name].size_bytes) == (digest(content), len(content))


def test_every_public_trace_has_a_licence_and_a_secure_address_or_instructions() -> None:
    wanted = {
        *(f"azure-{year}-{kind}" for year in (2023, 2024) for kind in ("code", "conv")),
        *(f"burstgpt-{k}" for k in (1, 2, 3)),
        "mooncake-conversation",
        "servegen",
        "sageserve",
    }
    assert wanted <= set(load_sources())
    for name, entry in load_sources().items():
        assert entry.licence in {"CC-BY 4.0", "Apache-2.0", "MIT"}, name
        assert all(url.startswith("https://") for url in entry.urls), name
        assert entry.sha256 or not entry.urls, name
        assert bool(entry.urls) == bool(entry.file) == (not entry.instructions), name
    files = [entry.file for entry in load_sources().values() if entry.file]
    assert len(set(files)) == len(files)


@pytest.fixture
def commands(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """The command line with one source, in an empty folder."""
    sources = {
        "t": source(f"{site.address}/t.csv"),
        "r": source(file=None, sha256=None, size_bytes=None, instructions="Clone [it]."),
        "u": source(f"{site.address}/u.csv", file="u.csv", sha256=None, size_bytes=None),
    }
    monkeypatch.setattr(known, "load_sources", lambda: sources)
    monkeypatch.setattr(sourcing, "load_sources", lambda: sources)
    monkeypatch.chdir(tmp_path)
    return CliRunner()


def test_command_fetches_and_tells_licence_and_citation(commands: CliRunner, tmp_path: Path) -> None:
    done = commands.invoke(cli.app, ["trace", "fetch", "t", "--to", "raw"])
    assert done.exit_code == 0
    assert f"raw/t.csv: {len(CONTENT):,} bytes\n" in done.stdout
    assert "Licence: CC-BY 4.0" in done.stdout
    assert "Please cite: A. Nobody. A trace. 2026." in done.stdout
    assert "note: Its SHA-256 is the published one." in done.stdout
    assert (tmp_path / "raw" / "t.csv").read_bytes() == CONTENT
    again = commands.invoke(cli.app, ["trace", "fetch", "t", "--to", "raw"])
    assert "there already" in again.stdout


def test_command_takes_an_ignored_folder_by_default() -> None:
    from sageserve_lib import paths

    assert cli_fetch.fetch_trace.__defaults__ == (paths.RAW,)
    assert "data/raw/" in (paths.ROOT / ".gitignore").read_text().splitlines()


def test_command_refuses_in_a_sentence(commands: CliRunner, site: Site, tmp_path: Path) -> None:
    unknown = commands.invoke(cli.app, ["trace", "fetch", "v"])
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert "error: Unknown trace 'v'" in unknown.stderr
    repository = commands.invoke(cli.app, ["trace", "fetch", "r"])
    assert repository.exit_code == 2
    assert "Clone [it]." in repository.stderr
    site.statuses = [404]
    gone = commands.invoke(cli.app, ["trace", "fetch", "t", "--to", "raw"])
    assert gone.exit_code == 1
    assert "404" in gone.stderr
    assert "Traceback" not in gone.stderr
    assert names(tmp_path / "raw") == set()


def test_interrupted_command_says_that_it_can_go_on(commands: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt(15)

    monkeypatch.setattr(known, "fetch", interrupt)
    done = commands.invoke(cli.app, ["trace", "fetch", "t", "--to", "raw"])
    assert done.exit_code == 128 + 15
    assert "goes on from there" in done.stderr
    assert "nothing was kept" not in done.stderr


def test_progress_on_a_terminal_names_the_trace_and_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(cli_fetch.sys, "stderr", screen := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with cli_fetch._progress("t", source("http://x/t")) as progress:
        progress(5_000, 10_000)
    assert "t " in screen.getvalue()
    assert "5.0/10.0 kB" in screen.getvalue()


def test_sources_are_listed(commands: CliRunner) -> None:
    done = commands.invoke(cli.app, ["trace", "sources"])
    assert done.exit_code == 0
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("│ t ")]
    assert "CC-BY 4.0" in row
    assert "1.0 MB" in row
    assert "a trace" in row
    assert "A. Nobody" in done.stdout
    assert "repository" in done.stdout
    assert "not known" in done.stdout
