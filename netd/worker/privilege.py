"""Dropping privileges permanently, and verifying it (setresuid(2), credentials(7))."""

from __future__ import annotations

import os

from netd.model.service import Owner


class NotDropped(Exception):
    """The process could not become its user and group, or could return to the old ones."""


def drop(owner: Owner) -> None:
    """Become *owner*: its real, effective and saved ids, and no supplementary groups.

    Does nothing if *owner* names neither user nor group, or those that the process has already,
    unless that is root: a root that is asked for still loses its supplementary groups. Raises
    NotDropped; the process must end then, since some of its ids may have changed.
    """
    uid = os.geteuid() if owner.uid is None else owner.uid
    gid = os.getegid() if owner.gid is None else owner.gid
    if owner == Owner() or (uid, gid) == (os.geteuid(), os.getegid()) != (0, 0):
        return
    try:
        # Groups first, then the group: both need the rights that setresuid gives up.
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise NotDropped(f"cannot become uid {uid}, gid {gid}: {error.strerror}") from error
    _verify(uid, gid)


def _verify(uid: int, gid: int) -> None:
    # getgroups(2) may list the effective group, too.
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or set(os.getgroups()) - {gid}:
        raise NotDropped(f"still uid {os.getresuid()}, gid {os.getresgid()}, {os.getgroups()}")
    if uid == 0:
        return
    # The saved ids or a capability might lead back, whatever the ids above are.
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise NotDropped(f"could become root again from uid {uid}")
