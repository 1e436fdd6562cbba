"""A real nginx in front of a studio, without rights and on a port of its own, set up as docs/server.md says."""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
DOCS = Path(__file__).parents[2] / "docs" / "server.md"

CONFIGURATION = """
pid {folder}/nginx.pid;
error_log {folder}/error.log;
daemon off;
master_process off;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        server_name stems.example.org;
        {location}
    }}
}}
"""


def location_in_docs(path: str, target: str) -> str:
    """The documented block, for another path and another studio."""
    (block,) = re.findall(r"```nginx\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    assert "location /stems/ {" in block and "http://127.0.0.1:8017;" in block
    return block.replace("location /stems/", f"location {path}").replace("http://127.0.0.1:8017", target)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Nginx:
    """nginx while the block runs."""

    def __init__(self, folder: Path, port: int, location: str) -> None:
        folder.mkdir()
        file = folder / "nginx.conf"
        file.write_text(CONFIGURATION.format(folder=folder, port=port, location=location))
        self.folder, self.port = folder, port
        self.process = subprocess.Popen([NGINX, "-c", str(file), "-e", str(folder / "start.log"), "-p", str(folder)])

    def __enter__(self) -> "Nginx":
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError("".join(path.read_text() for path in self.folder.glob("*.log")))

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait(20)
