"""Unix sockets in the file system: bound, owned, and unlinked at the end."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from netd.model.address import UnixAddress

PARENT_MODE: Final = 0o755
"""Mode of directories made for a Unix path, as ``DirectoryMode=`` of systemd.socket(5)."""


def bind_unix(sock: socket.socket, address: UnixAddress, undo: ExitStack) -> tuple[int, int] | None:
    """Bind a path or an abstract name; return the inode of the path. Raises OSError."""
    if address.is_abstract:
        sock.bind(address.bind_name)
        return None
    _make_parents(Path(address.path).parent)
    _clear(address.path)
    # On Linux the path's inode gets the mode of the socket's inode, less the umask. So no other
    # user can connect before owner and mode are as configured.
    os.fchmod(sock.fileno(), 0o600 & address.mode)
    sock.bind(address.bind_name)
    # The stack runs backwards: the path is unlinked before the socket is closed. Until then the
    # socket keeps its inode number from being used for another file.
    inode = unlink_at_close(address.path, undo)
    set_owner_and_mode(address)
    return inode


def unlink_at_close(path: str, undo: ExitStack) -> tuple[int, int]:
    """Register with *undo* that *path* is unlinked, unless it is another inode by then.

    Returns the inode. Raises OSError.
    """
    inode = inode_of(os.lstat(path))
    undo.callback(unlink_if_same, path, inode)
    return inode


def _make_parents(directory: Path) -> None:
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process made it, and owns it
            path.mkdir(PARENT_MODE)
            with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                os.fchmod(descriptor, PARENT_MODE)  # independent of the umask


def _clear(path: str) -> None:
    """Unlink a stale socket, whose process has ended. Raises OSError for anything else there."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"{os.strerror(errno.EEXIST)}: what is there is not a socket")
    refusal = _refusal(_probe(path))
    if refusal is not None:
        raise refusal
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _probe(path: str) -> int:
    """Find out whether a socket is bound to *path*. Does not block, and its owner sees nothing.

    Connecting a datagram socket sends nothing. To a stream socket it fails with EPROTOTYPE. A
    stream probe could not tell a stale socket from one that does not listen yet: both refuse it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path)


def _refusal(code: int) -> OSError | None:
    """The error for a socket that must not be replaced; None if *code* says that it is stale."""
    if code in (errno.ECONNREFUSED, errno.ENOENT):
        return None
    # EPERM: a datagram socket that is connected to another one (unix(7)).
    if code in (0, errno.EAGAIN, errno.EPROTOTYPE, errno.EPERM):
        in_use = os.strerror(errno.EADDRINUSE)
        return OSError(errno.EADDRINUSE, f"{in_use}: something is listening there")
    return OSError(code, os.strerror(code))


def set_owner_and_mode(address: UnixAddress) -> None:
    """Give the path the owner and the mode of *address*. Raises OSError."""
    # Through a descriptor, because chmod(2) follows a symbolic link: a user who may write in the
    # directory could put one there between two calls. O_PATH opens a socket, and /proc/self/fd
    # leads back to the same inode (proc(5)).
    with _opened(address.path, os.O_PATH) as descriptor:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(
                errno.ESTALE, "another process replaced the socket while it was being bound"
            )
        path = f"/proc/self/fd/{descriptor}"
        user, group = (-1 if i is None else i for i in (address.user, address.group))
        if (user, group) != (-1, -1):
            os.chown(path, user, group)
        os.chmod(path, address.mode)


@contextlib.contextmanager
def _opened(path: str | Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def inode_of(status: os.stat_result) -> tuple[int, int]:
    """Device and inode number: together they identify a file."""
    return status.st_dev, status.st_ino


def unlink_if_same(path: str, inode: tuple[int, int]) -> None:
    """Unlink *path* if it is still that *inode*. Raises nothing."""
    # After privileges are dropped the directory may be out of reach, and closing must go on. The
    # path is then a stale socket, which the next start replaces.
    with contextlib.suppress(OSError):
        if inode_of(os.lstat(path)) == inode:
            os.unlink(path)
