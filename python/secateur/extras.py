"""Optional packages: what to install where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secateur.errors import MissingExtraError

# Package → the extra of this distribution that brings it.
_EXTRAS = {
    "brevitas": "torch",
    "click": "cli",
    "cryptography": "client",
    "filelock": "sweep",
    "httpx": "client",
    "matplotlib": "plot",
    "networkx": "fhe",
    "onnx": "onnx",
    "pandas": "sweep",
    "prometheus_client": "serve",
    "pyarrow": "sweep",
    "rich": "cli",
    "safetensors": "files",
    "starlette": "serve",
    "sklearn": "sklearn",
    "torch": "torch",
    "uvicorn": "serve",
}


@contextmanager
def needed_for(feature: str) -> Iterator[None]:
    """Name the extra where an optional package imported inside turns out to be missing.

    Raises:
        MissingExtraError: in place of the ImportError.

    >>> with needed_for("a chart"):
    ...     raise ModuleNotFoundError(name="matplotlib.figure")
    Traceback (most recent call last):
    secateur.errors.MissingExtraError: a chart needs matplotlib: pip install "secateur[plot]"
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        extra = _EXTRAS[package]
        raise MissingExtraError(
            f'{feature} needs {package}: pip install "secateur[{extra}]"',
            package=package,
            extra=extra,
            feature=feature,
        ) from error
