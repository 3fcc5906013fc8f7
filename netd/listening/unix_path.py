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
from typing import Final, TypeAlias

from netd.model.address import UnixAddress

Socket: TypeAlias = socket.socket


PARENT_MODE: Final = 0o755
"""Of the directories made for a Unix path: ``DirectoryMode=`` of systemd.socket(5)."""


def _bind_unix(sock: Socket, address: UnixAddress, undo: ExitStack) -> tuple[int, int] | None:
    """Bind a path or an abstract name; return the inode of the path."""
    if address.is_abstract:
        sock.bind(address.bind_name)
        return None
    _make_parents(Path(address.path).parent)
    _clear(address.path)
    # On Linux the path's inode takes the mode of the socket's, less the umask. So nobody gets in
    # before owner and mode are as configured.
    os.fchmod(sock.fileno(), 0o600 & address.mode)
    sock.bind(address.bind_name)
    # The stack runs backwards: the path goes while the socket still holds its inode, which
    # therefore cannot have become the number of somebody else's file.
    inode = unlink_at_close(address.path, undo)
    _set_owner_and_mode(address)
    return inode


def unlink_at_close(path: str, undo: ExitStack) -> tuple[int, int]:
    """Have *undo* unlink *path*, if it is still the inode that it is now, and return that.

    Raises OSError.
    """
    inode = _inode(os.lstat(path))
    undo.callback(_unlink, path, inode)
    return inode


def _make_parents(directory: Path) -> None:
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # somebody else was faster; it is theirs
            path.mkdir(PARENT_MODE)
            with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                os.fchmod(descriptor, PARENT_MODE)  # whatever the umask is


def _clear(path: str) -> None:
    """Unlink a socket that its process has left behind; refuse to touch anything else."""
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
    """Ask whether a socket is bound to *path*; never waits and never reaches its owner.

    Connecting a datagram socket sends nothing. To a stream socket it fails with EPROTOTYPE,
    even to one that does not listen yet, which would refuse a stream as if it were stale.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path)


def _refusal(code: int) -> OSError | None:
    """What forbids to replace a socket that answered a probe with *code*; None if it is stale."""
    if code in (errno.ECONNREFUSED, errno.ENOENT):
        return None
    # EPERM: a datagram socket that is connected to somebody else (unix(7)).
    if code in (0, errno.EAGAIN, errno.EPROTOTYPE, errno.EPERM):
        in_use = os.strerror(errno.EADDRINUSE)
        return OSError(errno.EADDRINUSE, f"{in_use}: something is listening there")
    return OSError(code, os.strerror(code))


def _set_owner_and_mode(address: UnixAddress) -> None:
    # By way of a descriptor, as chmod(2) follows a symbolic link: who may write in the directory
    # could put one there between two calls. O_PATH opens a socket; proc(5) leads back to it.
    with _opened(address.path, os.O_PATH) as descriptor:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ESTALE, "somebody replaced the socket while it was being bound")
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


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _unlink(path: str, inode: tuple[int, int]) -> None:
    # What cannot be removed stays behind as a stale socket, which the next start replaces: after
    # privileges are given up, the directory may be out of reach, and closing must go on.
    with contextlib.suppress(OSError):
        if _inode(os.lstat(path)) == inode:
            os.unlink(path)
