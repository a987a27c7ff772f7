"""Runs the guide's blocks as one person would in one terminal.

Decides when a block has failed: a command fails, a variable is unset, or its time is over. Variables and functions of
one block are there in the next. It never repeats a block, and leaves none of its processes behind.
"""

import os
import signal
import subprocess
import threading

# `set -a` exports what is set, so that `export -p` tells all of it.
SCRIPT = """set -aeuo pipefail
if [ -e "$BED_STATE" ]; then . "$BED_STATE"; fi
{text}
{{ export -p; declare -f; }} > "$BED_STATE"
"""


class BlockFailed(Exception):
    """A block that did not end well, with all that it said."""

    def __init__(self, why, lines=()):
        super().__init__(why)
        self.said = "\n".join(lines)


class Shell:
    """A terminal in `directory` whose state outlives each block."""

    def __init__(self, directory, environment, state, say):
        self.directory = directory
        self.environment = {**environment, "BED_STATE": str(state)}
        self.say = say

    def fails(self, text, seconds):
        """Runs a command that must not succeed; returns what it says."""
        try:
            self.run(text, seconds)
        except BlockFailed as refusal:
            return refusal.said
        raise BlockFailed(f"this should have been refused:\n{text}")

    def run(self, text, seconds):
        """Runs one block; raises BlockFailed with its last lines."""
        process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", SCRIPT.format(text=text)],
            cwd=self.directory, env=self.environment, start_new_session=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        late = threading.Event()

        def stop():
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, stop)
        timer.start()
        lines = []
        try:
            for line in process.stdout:
                lines.append(line.rstrip("\r\n"))
                self.say("    " + lines[-1])
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
        if late.is_set():
            raise BlockFailed(f"not done after {seconds} seconds:\n{text}", lines)
        if code != 0:
            raise BlockFailed(f"exit code {code}:\n{text}\n" + "\n".join(lines[-15:]), lines)
