"""Files that a command may write as root in a folder that belongs to another user.

The owner of such a folder may put a link where Greenroom expects a file of its own. Three rules
keep such a link from leading a privileged process to somebody else's file:

- Greenroom opens a file that it writes without following a link in its place, and refuses anything
  but a regular file with one name. (A log may be a device, or a link as in the third rule.)
- Greenroom writes a new version into a file with a random name that did not exist before, and
  changes the owner only of that file.
- On the way to a folder Greenroom follows only those links that root or the user of this process
  made.

Where the system has no such flags (Windows), Greenroom does without them.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IMODE, S_ISLNK, S_ISREG

if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int, *, wait: bool) -> None:
        """Lock an open file for this process. Raises OSError where another process has it."""
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # far from the text, which stays readable
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
else:
    try:
        import fcntl
    except ImportError:  # a Python without file locks: changes of two processes may overlap

        def lock(descriptor: int, *, wait: bool) -> None:
            """Lock nothing: this system has no file locks."""
    else:

        def lock(descriptor: int, *, wait: bool) -> None:
            """Lock an open file for this process. Raises OSError where another process has it."""
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_CLOSES = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
# Opening a pipe that somebody put in place of the file must not wait for a writer.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
# With O_PATH a folder that this user may pass through, but not list, will do.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _CLOSES
_MOST_LINKS = 40


def open_private(path: str | Path, flags: int, mode: int = 0o600) -> int:
    """Return a descriptor of the regular file ``path``; ``flags`` are those of ``os.open``.

    Raises OSError for a link, for anything but a regular file, and for a file with a second name.
    """
    path = Path(path)
    with _folder(path) as folder:
        return _open(path, flags, mode, folder)


def open_log(path: str | Path) -> int:
    """Return a descriptor to append to ``path``, which may be a link that root or the user of this
    process made, as ``/dev/stdout`` is. Raises OSError.
    """
    path = Path(path)
    flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY
    if not path.is_symlink() and (path.is_file() or not path.exists()):
        return open_private(path, flags)
    if path.is_symlink() and not _trusted(path.lstat()):
        raise _refused(path, "is a link of another user")
    return os.open(path, flags | _CLOSES | _NO_WAIT, 0o600)


def create(path: str | Path, mode: int = 0o600) -> int:
    """Return a descriptor of the new file ``path``. Raises FileExistsError where one exists."""
    return open_private(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)


def open_lock(path: str | Path, mode: int = 0o600) -> int:
    """Return a descriptor of a lock file. The owner of the folder owns a new lock file too.

    Raises OSError.
    """
    path = Path(path)
    with _folder(path) as folder:
        try:
            made = _open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode, folder)
        except FileExistsError:
            return _open(path, os.O_RDWR, mode, folder)
        _give(made, path.parent.stat() if folder is None else os.fstat(folder), mode)
        return made


def read(path: str | Path) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file and its status. Raises OSError, for a link too."""
    path = Path(path)
    with _folder(path) as folder:
        descriptor = _open(path, os.O_RDONLY, 0, folder, names=None)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(), os.fstat(file.fileno())


def replace(path: str | Path, data: bytes, before: os.stat_result | None = None) -> None:
    """Put ``data`` in the place of ``path`` at once: a reader sees the old file or the new one.

    The new file has the owner and the mode of ``before``, or mode 600. Raises OSError; then the old
    file is still there.
    """
    path = Path(path)
    with _folder(path) as folder:
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = _open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                if before is not None:  # or the server could not read what root has changed
                    _give(descriptor, before, S_IMODE(before.st_mode) & 0o777)
                os.fsync(descriptor)
            os.replace(_in(folder, fresh), _in(folder, path), src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(_in(folder, fresh), dir_fd=folder)
            raise


def _give(descriptor: int, owner: os.stat_result, mode: int) -> None:
    if hasattr(os, "fchown"):
        made = os.fstat(descriptor)
        if (made.st_uid, made.st_gid) != (owner.st_uid, owner.st_gid):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fchmod(descriptor, mode)


def _open(path: Path, flags: int, mode: int, folder: int | None, names: int | None = 1) -> int:
    """Open a regular file that has at most ``names`` names (``None``: any number of them)."""
    try:
        descriptor = os.open(
            _in(folder, path), flags | _NO_LINK | _CLOSES | _BINARY | _NO_WAIT, mode, dir_fd=folder
        )
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise _refused(path, "is a link") from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    status = os.fstat(descriptor)
    if not S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _refused(path, "is no regular file")
    if names is not None and status.st_nlink > names:
        os.close(descriptor)
        raise _refused(path, "has a second name (a hard link)")
    return descriptor


def _trusted(link: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or link.st_uid in (0, os.geteuid())


def _in(folder: int | None, path: Path) -> str:
    return str(path) if folder is None else path.name


def _refused(path: Path, why: str) -> OSError:
    return OSError(errno.ELOOP, f"it {why}, and Greenroom follows none: name the file", str(path))


@contextmanager
def _folder(path: Path) -> Generator[int | None, None, None]:
    """Hold the folder of ``path`` open, so that nobody can exchange it meanwhile. ``None``: this
    system cannot open a folder."""
    if os.open not in os.supports_dir_fd:
        yield None
        return
    folder = _walk(path)
    try:
        yield folder
    finally:
        os.close(folder)


def _walk(path: Path) -> int:
    """Open the folder of ``path``, one step after the other."""
    steps = list(reversed(path.parent.parts))
    folder = os.open(".", _FOLDER)
    links = 0
    try:
        while steps:
            step = steps.pop()
            status = os.stat(step, dir_fd=folder, follow_symlinks=False)
            if S_ISLNK(status.st_mode):
                links += 1
                if not _trusted(status) or links > _MOST_LINKS:
                    raise _refused(path, f"lies behind the link {step} of another user")
                target = Path(os.readlink(step, dir_fd=folder))
                steps += reversed(target.parts)  # of an absolute one the first is the root
                continue
            further = os.open(step, _FOLDER | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = further
    except OSError as error:
        os.close(folder)
        if error.filename == str(path):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
    return folder
