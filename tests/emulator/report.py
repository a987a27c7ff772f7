"""What a person needs to see after a failure: the node's record, calls that failed, logs of functions and emulators.

Decides nothing about the run; a source that cannot be read is named, and the rest is still shown.
"""

import json

from account import DEPLOYMENT

LINES = 40


def function_log(account, function):
    """The lines of a function's log, oldest first; none if it never ran."""
    logs = account.client("logs")
    lines, token = [], {}
    while True:
        try:
            page = logs.filter_log_events(logGroupName=f"/aws/lambda/{DEPLOYMENT}-{function}", **token)
        except logs.exceptions.ResourceNotFoundException:
            return lines
        lines += [event["message"].rstrip() for event in page["events"]]
        if "nextToken" not in page or page["nextToken"] == token.get("nextToken"):
            return [part for line in lines for part in line.splitlines()]
        token = {"nextToken": page["nextToken"]}


def failure(bed, error):
    """Prints everything."""
    bed.say(f"FAILED: {error}")
    part("the node's record", lambda: attributes(bed.account.record()))
    part("the node's item", lambda: attributes(bed.account.config()))
    part("calls of EC2 that failed", lambda: failed_calls(bed))
    part("events that were delivered", lambda: [" ".join(entry) for entry in bed.relay.delivered])
    part("what went wrong with events", lambda: bed.relay.problems)
    for path in sorted((bed.root / "functions").iterdir()):
        part(f"the log of {path.name}", lambda name=path.name: function_log(bed.account, name)[-LINES:])
    for name, _ in bed.world.processes:
        part(f"the log of {name}", lambda name=name: bed.world.log(name).splitlines()[-LINES:])


def attributes(item):
    """One attribute a line."""
    return [f"{name}: {json.dumps(value)}" for name, value in sorted(item.items())]


def part(title, lines):
    """One part, under its title."""
    print(f"--- {title}")
    try:
        for line in lines():
            print(line)
    except Exception as problem:  # Whatever it is, the other parts matter more.
        print(f"(not to be had: {type(problem).__name__}: {problem})")


def failed_calls(bed):
    """Calls that the local cloud refused, the last ones."""
    calls = bed.world.control("GET", "calls")["calls"]
    return [json.dumps(call) for call in calls if call["status"] != 200][-LINES:]
