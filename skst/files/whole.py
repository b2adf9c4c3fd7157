"""Files that appear only when they are whole."""

import errno
import os
import secrets
from contextlib import suppress

# What a file system says that does not write through to its disk when asked.
_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def write_whole(path, write):
    """Write a file that appears under its name only when it is complete and on the disk.

    Parameters
    ----------
    path : Path
    write : callable
        Takes the open file.

    Returns
    -------
    object
        What `write` returned.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(partial, "x+b") as file:
            outcome = write(file)
            file.flush()
            try:
                os.fsync(file.fileno())
            except OSError as error:
                if error.errno not in _NO_SYNC:
                    raise
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):  # the first fault is the one to tell
            partial.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # Windows opens no directories
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return outcome
