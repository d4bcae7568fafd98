"""Where generated files go, and what is refused as a place for them."""

import os
import sys
from pathlib import Path

import pytest

from sageserve_lib import paths
from sageserve_lib.errors import InputError

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has a folder for temporary files for each user")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing set, a home and a folder for temporary files."""
    for name in ("XDG_CACHE_HOME", paths.CACHE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return tmp_path


@pytest.fixture
def homeless(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a user without a home gets."""
    monkeypatch.setenv("HOME", "/nonexistent")
    return place / "temporary" / f"sageserve-{os.getuid()}"


def test_the_variable_names_the_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(place / "new" / "folder"))
    assert paths.generated() == place / "new" / "folder"
    monkeypatch.chdir(place)
    monkeypatch.setenv(paths.CACHE_VARIABLE, "here")
    assert paths.generated() == place / "here"


def test_a_variable_that_names_no_folder_is_refused_by_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").touch()
    monkeypatch.setenv(paths.CACHE_VARIABLE, str(place / "file" / "below"))
    with pytest.raises(InputError, match=r"SAGESERVE_CACHE is .*below, which cannot be written"):
        paths.generated()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
def test_else_it_is_the_users_cache_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.generated() == place / "home" / ".cache" / "sageserve"
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "xdg"))
    assert paths.generated() == place / "xdg" / "sageserve"


@posix
@pytest.mark.parametrize("home", ["/nonexistent", "/dev/null"])
def test_without_a_home_it_is_a_folder_for_this_user_alone(place: Path, monkeypatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    folder = paths.generated()
    assert folder == place / "temporary" / f"sageserve-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert paths.generated() == folder
    assert not Path("/nonexistent").exists()


@posix
def test_a_user_whom_the_system_does_not_know_has_one_too(
    place: Path, homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert paths.generated() == homeless


@posix
def test_a_home_that_cannot_be_written_is_none(place: Path, homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.setattr(os, "access", lambda there, mode: place / "home" != there)
    assert paths.generated() == homeless


@posix
@pytest.mark.parametrize("kind", ["link", "file", "others write", "another's"])
def test_a_shared_folder_where_somebody_else_was_first_is_refused(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "link":
        (homeless.parent / "elsewhere").mkdir(mode=0o700)
        homeless.symlink_to("elsewhere")
    elif kind == "file":
        homeless.touch()
    else:
        homeless.mkdir()
        homeless.chmod(0o777 if kind == "others write" else 0o700)
    if kind == "another's":
        uid = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: uid + 1)
        homeless.rename(homeless.with_name(f"sageserve-{uid + 1}"))
    with pytest.raises(InputError, match="Set SAGESERVE_CACHE to a folder"):
        paths.generated()
