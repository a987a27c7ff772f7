"""Carries the events of EC2 from the local cloud to the functions that ministack hosts.

AWS takes events of its own services from nobody (PutEvents refuses `aws.*`), and ministack neither. So the relay does
what EventBridge does behind that line: it asks ministack which deployed rules match (TestEventPattern), and invokes
their targets asynchronously. It decides nothing about patterns, and delivers to no function whose own policy does not
let that rule invoke it.
"""

import json
import threading
import time

PAUSE = 0.4


class Relay(threading.Thread):
    """Runs until `stop`; what went wrong is in `problems`."""

    def __init__(self, world, client):
        super().__init__(name="relay", daemon=True)
        self.world = world
        self.events, self.functions = client("events"), client("lambda")
        self.since = 0
        self.delivered = []
        self.unmatched = 0
        self.problems = []
        self.ended = threading.Event()

    def run(self):
        while not self.ended.is_set():
            try:
                self.turn()
            except Exception as error:  # The run fails at its end, with all of these.
                self.problems.append(f"relay: {type(error).__name__}: {error}")
            self.ended.wait(PAUSE)

    def stop(self):
        """Ends the relay after the turn under way."""
        self.ended.set()
        if self.ident:
            self.join(10)

    def turn(self):
        """Delivers what was emitted since the last turn."""
        fresh = self.world.control("GET", f"emitted?since={self.since}")["events"]
        if not fresh:
            return
        rules = self.rules()
        for entry in fresh:
            self.since = entry["seq"]
            self.deliver(entry["event"], rules)

    def rules(self):
        """Name, ARN and pattern of each rule on the default bus that waits for events."""
        listed = self.events.list_rules()["Rules"]
        return [rule for rule in listed if rule.get("EventPattern") and rule["State"] == "ENABLED"]

    def deliver(self, event, rules):
        """One event to the targets of all rules that match it."""
        text = json.dumps(event)
        matching = [rule for rule in rules
                    if self.events.test_event_pattern(EventPattern=rule["EventPattern"], Event=text)["Result"]]
        self.unmatched += not matching
        for rule in matching:
            for target in self.events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
                if not self.may_invoke(rule["Arn"], target["Arn"]):
                    self.problems.append(f"{rule['Name']} may not invoke {target['Arn']}")
                    continue
                self.functions.invoke(FunctionName=target["Arn"], InvocationType="Event", Payload=text)
                name = target["Arn"].rsplit(":", 1)[1]
                self.delivered.append((time.strftime("%H:%M:%S"), event["detail-type"], name))

    def may_invoke(self, rule, function):
        """Whether the function's policy lets EventBridge invoke it for this rule."""
        policy = json.loads(self.functions.get_policy(FunctionName=function)["Policy"])
        return any(
            statement["Effect"] == "Allow"
            and statement["Principal"] == {"Service": "events.amazonaws.com"}
            and rule in str(statement.get("Condition", {}))
            for statement in policy["Statement"])
