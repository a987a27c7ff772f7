#!/usr/bin/env python3
"""Checks the zips that `make build` made, as Lambda would first meet them.

Decides whether each is there, small enough and for the architecture that was asked for, and, where this machine can
run it, whether it starts: whether `bootstrap` asks a Runtime API for its first event. Changes nothing.
"""

import argparse
import http.server
import os
import pathlib
import platform
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Bytes; the budget of a zip, since Lambda fetches and unpacks it at each cold start.
LARGEST = 6 * 1024 * 1024
# Seconds until the first poll, after which a start counts as failed. Far above the budget, which `make bench` is for.
PATIENCE = 20
# e_machine of the ELF header.
MACHINES = {62: "x86_64", 183: "arm64"}
# Lambda unpacks the zip with these modes; without the execute bit the function would not start.
EXECUTABLE = 0o111


def architecture(head):
    """What the program was built for, or nothing if it is no 64-bit little-endian ELF file."""
    if head[:6] != b"\x7fELF\x02\x01":
        return None
    return MACHINES.get(struct.unpack_from("<H", head, 18)[0], "another")


def look(path, wanted):
    """What is wrong with a zip, and what helps; nothing if it is right."""
    build = f"run `make build ARCH={wanted}`"
    if not path.is_file():
        return f"{path.relative_to(ROOT)} is missing: {build}"
    if not zipfile.is_zipfile(path):
        return f"{path.relative_to(ROOT)} is no zip: {build}"
    with zipfile.ZipFile(path) as archive:
        try:
            entry = archive.getinfo("bootstrap")
        except KeyError:
            return f"{path.relative_to(ROOT)} holds no bootstrap: {build}"
        if not (entry.external_attr >> 16) & EXECUTABLE:
            return f"{path.relative_to(ROOT)}: bootstrap is not executable: {build}"
        with archive.open(entry) as program:
            built = architecture(program.read(64))
    if built != wanted:
        return f"{path.relative_to(ROOT)} is for {built}, not {wanted}: {build}, or name ARCH={built}"
    return None


class Poll(http.server.BaseHTTPRequestHandler):
    """A Runtime API that notes the first poll and never answers it, as while no event comes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/2018-06-01/runtime/invocation/next":
            self.server.polled_at = time.monotonic()
            self.server.polled.set()
            self.server.released.wait()
        self.close_connection = True

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        self.server.complaint = f"{self.path}: {self.rfile.read(length).decode(errors='replace')}"
        self.server.polled.set()
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def resident(pid):
    """The memory in use in MB, as the kernel counts it."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def start(path):
    """Starts a function's program; milliseconds to its first poll and MB then, or what went wrong."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Poll)
    server.daemon_threads = True
    server.polled, server.released, server.complaint = threading.Event(), threading.Event(), None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = path.parent.name
    # What Lambda and the template set, and no credentials: a start calls nobody.
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "check",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "PERENNIAL_CONFIG_TABLE": "perennial-config",
        "PERENNIAL_STATE_TABLE": "perennial-state",
        "PERENNIAL_EVENT_BUS": "perennial",
        "PERENNIAL_DEPLOYMENT": "perennial",
    }
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        with zipfile.ZipFile(path) as archive:
            archive.extract("bootstrap", folder)
        program = os.path.join(folder, "bootstrap")
        os.chmod(program, 0o755)
        started_at = time.monotonic()
        process = subprocess.Popen([program], env=environment, stdout=said, stderr=said, cwd=folder)
        try:
            deadline = started_at + PATIENCE
            while not server.polled.wait(0.05) and process.poll() is None and time.monotonic() < deadline:
                pass
            if server.polled.is_set() and server.complaint is None:
                return (server.polled_at - started_at) * 1000, resident(process.pid), None
            ended = process.poll()
        finally:
            process.kill()
            process.wait()
            server.released.set()
            server.shutdown()
            server.server_close()
        said.seek(0)
        output = said.read().decode(errors="replace").strip()
    how = server.complaint or (f"it did not poll within {PATIENCE} s" if ended is None else f"it ended with {ended}")
    return None, None, f"{name} does not start: {how}\n{output}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", choices=sorted(MACHINES.values()), required=True)
    parser.add_argument("--only-look", action="store_true", help="neither weigh nor start them, and say nothing if all is well")
    asked = parser.parse_args()
    names = sorted(path.name for path in (ROOT / "functions").iterdir() if (path / "Cargo.toml").is_file())
    zips = {name: ROOT / "target" / "lambda" / f"perennial-{name}" / "bootstrap.zip" for name in names}
    wrong = [problem for problem in (look(path, asked.architecture) for path in zips.values()) if problem]
    if wrong or asked.only_look:
        print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
        return 1 if wrong else 0

    here = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
    can_start = here == asked.architecture and sys.platform == "linux"
    if not can_start:
        print(f"Built for {asked.architecture}, and this machine is {here} ({sys.platform}): sizes are checked, starts are not.")
    print(f"{'function':<20} {'zip, MB':>8} {'first poll, ms':>15} {'resident, MB':>13}")
    for name, path in zips.items():
        size = path.stat().st_size
        if size > LARGEST:
            wrong.append(f"{name}: its zip has {size} bytes, and {LARGEST} are the most")
        took, memory, problem = start(path) if can_start else (None, None, None)
        if problem:
            wrong.append(problem)
        figures = f"{took:>15.0f} {memory:>13.1f}" if took is not None else f"{'-':>15} {'-':>13}"
        print(f"{name:<20} {size / 1024 / 1024:>8.2f} {figures}")
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
