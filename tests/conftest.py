"""What every test has: properties tried the same way each time, pictures without a screen, few threads, signals that
arrive; and how many processes run the tests."""

import os
import signal
from pathlib import Path

ALONE = "PYTEST_XDIST_WORKER" not in os.environ
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, str(min(2, os.cpu_count() or 1)) if ALONE else "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest  # noqa: E402  (numerical libraries read the names above as they load)
from hypothesis import HealthCheck, settings  # noqa: E402

# Shells have programs in the background ignore Ctrl-C, and nohup a closing terminal; what is started here inherits it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Tests of one file run in this process, which starts at once; those of more in one process for each core."""
    paths = {argument.partition("::")[0] for argument in config.args}
    return 0 if len(paths) == 1 and Path(paths.pop()).is_file() else None
