"""Starts Ray on this machine, or joins a cluster."""

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from hyperstem.errors import ClusterError, ConfigError
from hyperstem.parallel import cores

_STORE_BYTES = 100 << 20
"""Size of Ray's object store, which only holds records."""
_LONGEST_FOLDER = 40
_REACH_S = 10.0


def require_ray() -> None:
    """Checks that Ray is installed.

    Raises:
        ConfigError: it is missing.
    """
    if find_spec("ray") is None:
        raise ConfigError("--ray needs Ray, which is not installed: pip install 'hyperstem[ray]'")


def start(address: str) -> Path | None:
    """Starts or joins Ray; returns the folder of its files if it was started here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no telemetry
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address != "local":
        try:
            _reach(address)
            ray.init(address=address, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())[:300]
            raise ClusterError(f"no Ray cluster at {address!r}: {text}") from None
        return None
    folder = _short_folder()
    try:
        ray.init(
            address="local",
            num_cpus=cores(),
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            _temp_dir=str(folder),
            **quiet,
        )
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ClusterError(f"Ray does not start on this machine: {' '.join(str(error).split())[:300]}") from None
    return folder


def _reach(address: str) -> None:
    """Fails at once if nothing listens at the address: Ray would retry for many minutes.

    Raises:
        OSError: the address cannot be reached.
    """
    host, found, port = address.rpartition(":")
    if found:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()


def _short_folder() -> Path:
    """A temporary folder with a short name, because names of sockets in it are limited to 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="hyperstem-"))
    if len(str(folder)) > _LONGEST_FOLDER:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="hyperstem-", dir="/tmp"))
    return folder


@contextlib.contextmanager
def signal_handlers_kept() -> Iterator[None]:
    """Restores the caller's SIGTERM handler, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def request_cores(cores: int) -> None:
    """Requests a number of cores from a cluster that can scale."""
    from ray.autoscaler.sdk import request_resources

    with contextlib.suppress(Exception):
        request_resources(num_cpus=cores)
