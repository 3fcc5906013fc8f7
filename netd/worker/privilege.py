"""Becoming somebody else for good, and making sure of it (setresuid(2), credentials(7))."""

from __future__ import annotations

import os

from netd.model.service import Owner


class NotDropped(Exception):
    """The process could not become whom it should run as, or could come back."""


def drop(owner: Owner) -> None:
    """Become *owner*: no supplementary groups, real, effective and saved ids alike.

    Does nothing where *owner* names nobody, or names whom the process already is. Raises
    NotDropped; the process must then end, for it may be half somebody else.
    """
    uid = os.geteuid() if owner.uid is None else owner.uid
    gid = os.getegid() if owner.gid is None else owner.gid
    if owner == Owner() or (uid, gid) == (os.geteuid(), os.getegid()) != (0, 0):
        return
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise NotDropped(f"cannot become uid {uid}, gid {gid}: {error.strerror}") from error
    _verify(uid, gid)


def _verify(uid: int, gid: int) -> None:
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or set(os.getgroups()) - {gid}:
        raise NotDropped(f"still uid {os.getresuid()}, gid {os.getresgid()}, {os.getgroups()}")
    if uid == 0:
        return
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise NotDropped(f"could become root again from uid {uid}")
