"""A real nginx or Caddy in front of a studio, on a port of its own, set up as docs/server.md says."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

CADDY = shutil.which("caddy")
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


def caddyfile_in_docs(address: str, target: str) -> str:
    """The documented file, for another address, without encryption, and another studio."""
    (file,) = re.findall(r"```caddyfile\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    assert "example.org {" in file and "127.0.0.1:8017" in file
    file = file.replace("example.org {", f"{address} {{").replace("127.0.0.1:8017", target)
    return "{\n    admin off\n    auto_https off\n}\n" + file


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Proxy:
    """A proxy while the block runs."""

    def __init__(self, folder: Path, port: int, command: list[str]) -> None:
        self.folder, self.port, self.command = folder, port, command

    def __enter__(self) -> "Proxy":
        environment = {**os.environ, "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        with (self.folder / "proxy.log").open("w") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdout=log, env=environment)
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


def nginx(folder: Path, port: int, location: str) -> Proxy:
    folder.mkdir()
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, port=port, location=location))
    return Proxy(folder, port, [NGINX, "-c", str(file), "-e", str(folder / "start.log"), "-p", str(folder)])


def caddy(folder: Path, port: int, configuration: str) -> Proxy:
    folder.mkdir()
    file = folder / "Caddyfile"
    file.write_text(configuration)
    return Proxy(folder, port, [CADDY, "run", "--config", str(file), "--adapter", "caddyfile"])
