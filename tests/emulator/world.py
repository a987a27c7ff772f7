"""Starts the two emulators that stand for one account, and ends all that they started.

Decides ports, directories and the environment. The functions find the local cloud for EC2, and ministack for everything
else, by the variables that every AWS SDK knows; ministack hands its own environment on to them, so the template needs
no word about it. It never looks into what is deployed.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

# The local cloud's own account and Region, for ARNs that agree.
ACCOUNT = "123456789012"
REGION = "us-east-1"


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http(method, url, body=None):
    """One JSON request to an emulator's own endpoints."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=10) as answer:
        return json.loads(answer.read() or b"{}")


class World:
    """Both emulators, while they run."""

    def __init__(self, root, venv, cloud, directory):
        self.root, self.venv, self.cloud = root, venv, cloud
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "tmp").mkdir(parents=True)
        self.processes = []
        self.aws_url = f"http://127.0.0.1:{free_port()}"
        self.ec2_url = f"http://127.0.0.1:{free_port()}"

    def environment(self):
        """What the operator's terminal has; no setting or credential of the person at this machine gets in."""
        kept = {name: os.environ[name] for name in ("LANG", "TERM", "USER") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.directory),
            "PATH": f"{self.venv / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(self.directory / "tmp"),
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ENDPOINT_URL_EC2": self.ec2_url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_PAGER": "",
            "NO_PROXY": "127.0.0.1",
        }

    def start(self):
        """Both, until they answer."""
        template = self.root / "infra" / "template.yaml"
        self._spawn("cloud", [str(self.cloud), "serve", "--listen", self.ec2_url.removeprefix("http://"),
                              "--speed", "1", "--template", str(template)], self.environment())
        self._spawn("ministack", [str(self.venv / "bin" / "ministack")], {
            **self.environment(),
            "GATEWAY_PORT": self.aws_url.rsplit(":", 1)[1],
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": REGION,
            # Every call is signed and judged: those of the functions by their roles' policies.
            "AUTH": "true",
            # On AWS the template's LoggingConfig sets it; ministack keeps that setting and does nothing with it.
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
        })
        self._wait("cloud", self.ec2_url + "/_cloud/clock")
        self._wait("ministack", self.aws_url + "/_ministack/health")

    def _spawn(self, name, command, environment):
        log = (self.directory / f"{name}.log").open("wb")
        process = subprocess.Popen(command, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        log.close()
        self.processes.append((name, process))

    def _wait(self, name, url):
        process = dict(self.processes)[name]
        deadline = time.monotonic() + 60
        while True:
            try:
                http("GET", url)
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError, json.JSONDecodeError) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{name} does not answer: {error}\n{self.log(name)[-3000:]}") from error
            time.sleep(0.2)

    def control(self, method, path, body=None):
        """One control request to the local cloud."""
        return http(method, f"{self.ec2_url}/_cloud/{path}", body)

    def log(self, name):
        """What an emulator has written so far."""
        return (self.directory / f"{name}.log").read_text(errors="replace")

    def stop(self):
        """Ends both, and whatever they started: first asked to, then killed. Returns what had to be killed."""
        for _, process in self.processes:
            if process.poll() is None:
                process.terminate()
        killed = []
        for name, process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                killed.append(name)
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return killed + [str(pid) for pid in self._strays()]

    def _strays(self):
        """Kills function processes that outlived ministack: their binaries lie in the bed's own directory."""
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                binary = os.readlink(entry / "exe")
                if binary.startswith(str(self.directory)):
                    os.kill(int(entry.name), signal.SIGKILL)
                    yield int(entry.name)
            except OSError:
                continue
