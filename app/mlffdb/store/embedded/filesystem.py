"""Which file system a folder lies on: a database on a network file system is a risk."""

from __future__ import annotations

import re
from pathlib import Path

#: Types in /proc/mounts whose files are held by another machine or shared between machines.
NETWORK_FILESYSTEMS = frozenset(
    [
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "panfs",
        "pvfs2",
        "smb3",
        "smbfs",
        "virtiofs",
        "wekafs",
    ]
)

#: FUSE file systems of this machine; every other ``fuse.*`` is taken to be remote.
LOCAL_FUSE = frozenset(
    [
        "bindfs",
        "exfat",
        "fuse-overlayfs",
        "gocryptfs",
        "encfs",
        "lxcfs",
        "mergerfs",
        "ntfs-3g",
        "portal",
        "squashfuse",
    ]
)


def is_network_filesystem(path: Path, *, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Return the network file system's type that *path* lies on, such as ``nfs4``, or None.

    A folder that does not exist yet counts as its nearest parent. None too where the table of
    mounts cannot be read.
    """
    kind = _filesystem_type(path, mounts)
    if kind in NETWORK_FILESYSTEMS:
        return kind
    if kind.startswith("fuse.") and kind.removeprefix("fuse.") not in LOCAL_FUSE:
        return kind
    return None


def _filesystem_type(path: Path, mounts: Path) -> str:
    target = path.expanduser().resolve()
    best, kind = -1, ""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_unescape(fields[1]))
        # a later mount on the same point hides the earlier one
        if target.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def _unescape(text: str) -> str:
    """Turn the octal escapes of /proc/mounts (``\\040`` is a space) back into characters."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
