"""OpenCV; where it cannot be loaded, the error says what to install."""

from __future__ import annotations

import re

LIBRARIES = {  # of the system, that the wheel with windows needs: where Debian and Ubuntu, and Fedora, have them
    "libGL.so.1": ("libgl1", "mesa-libGL"),
    "libgthread-2.0.so.0": ("libglib2.0-0", "glib2"),
    "libglib-2.0.so.0": ("libglib2.0-0", "glib2"),
}


def advice(message: str) -> str:
    """Say what to do about an error of OpenCV's import."""
    found = re.search(r"(lib[\w.+-]+\.so[.\d]*): cannot open shared object file", message)
    if found is None:
        return f"hgfast needs OpenCV, which cannot be imported ({message}): pip install 'opencv-python<5'"
    library = found[1]
    debian, fedora = LIBRARIES.get(library, ("", ""))
    how = f"apt-get install {debian} (Fedora: dnf install {fedora})" if debian else "install the package that has it"
    return (
        f"OpenCV cannot be loaded, for the system lacks {library}: {how}. Or, without a screen, take the wheel that "
        "needs no such libraries: pip uninstall opencv-python, then pip install 'opencv-python-headless<5'"
    )


try:
    import cv2
except ImportError as error:
    raise ImportError(advice(str(error))) from error

__all__ = ["cv2"]
