"""Proves the first-run guide: runs its commands, as they stand, against two emulators instead of AWS.

    python3 tests/emulator/bed.py --cloud target/debug/perennial-cloud --zips target/lambda

Decides the order (the guide's own), how long a block may take, and the exit code: 0, or 1 with everything a person
needs to see why. Repeats nothing, asks for nothing, and leaves no process and no file outside of target/bed.
"""

import argparse
import pathlib
import platform
import signal
import sys
import time

import checks
import guide
import report
from account import Account
from parameters import Parameters
from relay import Relay
from shell import BlockFailed, Shell
from world import World

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The longest that a block may take; all of them wait for something that the local cloud does in less than half of it.
SECONDS = 240


class Bed:
    """One run."""

    def __init__(self, options):
        self.root, self.zips = ROOT, options.zips.resolve()
        self.started = time.monotonic()
        self.deployed_at = None
        self.memory = {}
        self.shell = None
        venv, directory = pathlib.Path(sys.prefix), ROOT / "target" / "bed"
        self.world = World(ROOT, venv, options.cloud.resolve(), directory)
        self.account = Account(self.world, self.say)
        self.relay = Relay(self.world, self.account.client)
        self.parameters = Parameters(self.account.base_image)

    def say(self, text):
        """One line, with the seconds since the start."""
        print(f"{time.monotonic() - self.started:6.1f} {text}", flush=True)

    def account_log(self, function):
        """The lines that a function has written."""
        return report.function_log(self.account, function)

    def minutes_deployed(self):
        """Whole minutes since the first deployment."""
        return int((time.monotonic() - self.deployed_at) // 60)

    def run(self, text):
        """The whole guide."""
        blocks, stood_in = guide.read(text), set()
        environment = {**self.world.environment(), "ARCH": architecture(), "AWS_ENDPOINT_URL_SSM": self.parameters.url}
        self.shell = Shell(ROOT, environment, self.world.directory / "shell-state", self.say)
        for block in blocks:
            if block.mark != "run":
                self.say(f"- {block.section}, line {block.line}: left out: {block.reason}")
                if block.section in checks.INSTEAD and block.section not in stood_in:
                    stood_in.add(block.section)
                    self.check({block.section: [checks.INSTEAD[block.section]]}, block.section)
                continue
            run = [b for b in blocks if b.mark == "run" and b.section == block.section]
            if block is run[0]:
                self.check(checks.BEFORE, block.section)
            self.say(f"> {block.section}, line {block.line}")
            if block.section == "Deploy" and self.deployed_at is None:
                self.deployed_at = time.monotonic()
            self.shell.run(block.text, SECONDS)
            if block is run[-1]:
                self.check(checks.AFTER, block.section)
        if self.relay.problems:
            raise AssertionError("\n".join(self.relay.problems))

    def check(self, which, section):
        """What must be true here."""
        for check in which.get(section, []):
            check(self)
            self.say(f"  ok: {check.__doc__.splitlines()[0]}")


def architecture():
    """What this machine can run, by Lambda's name for it."""
    machine = platform.machine()
    return {"aarch64": "arm64"}.get(machine, machine)


def options():
    """What the caller said."""
    parser = argparse.ArgumentParser(description="Runs docs/GUIDE.md against ministack and the local cloud.")
    parser.add_argument("--cloud", type=pathlib.Path, default=ROOT / "target/debug/perennial-cloud")
    parser.add_argument("--zips", type=pathlib.Path, default=ROOT / "target/lambda")
    parser.add_argument("--guide", type=pathlib.Path, default=ROOT / "docs/GUIDE.md")
    return parser.parse_args()


def main():
    """Runs, cleans up, and says how it went."""
    said = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bed = Bed(said)
    try:
        bed.world.start()
        bed.relay.start()
        bed.run(said.guide.read_text())
        bed.say(f"the guide works: {len(bed.relay.delivered)} deliveries of events")
        return 0
    except (AssertionError, BlockFailed, guide.GuideError, RuntimeError) as error:
        report.failure(bed, error)
        return 1
    finally:
        bed.relay.stop()
        bed.parameters.stop()
        killed = bed.world.stop()
        if killed:
            bed.say(f"killed, since it did not end by itself: {', '.join(killed)}")


if __name__ == "__main__":
    sys.exit(main())
