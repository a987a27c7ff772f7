"""What must be true of the account before and after the guide's sections.

Decides whether the run is a success; each check reads the account and fails with a sentence. It changes nothing, but
that the guest writes to its disk. The guide itself only shows a person what happens.
"""

import base64
import hashlib
import json

from account import DEPLOYMENT

WRITES = 7


def before_anything(bed):
    """What there is without Perennial."""
    bed.memory["before"] = bed.account.belongings()


def deployed(bed):
    """The functions are the zips that ship; each rule has its target; what fails has a queue to go to."""
    functions = {f["FunctionName"]: f for f in bed.account.client("lambda").list_functions()["Functions"]}
    names = sorted(path.name for path in (bed.root / "functions").iterdir())
    assert sorted(functions) == [f"{DEPLOYMENT}-{name}" for name in names], sorted(functions)
    for name in names:
        shipped = (bed.zips / f"perennial-{name}" / "bootstrap.zip").read_bytes()
        digest = base64.b64encode(hashlib.sha256(shipped).digest()).decode()
        assert functions[f"{DEPLOYMENT}-{name}"]["CodeSha256"] == digest, f"{name} is not the zip that was built"
    bed.memory["code"] = {name: f["CodeSha256"] for name, f in functions.items()}
    rules_have_targets(bed)
    failures_have_queues(bed, functions)


def rules_have_targets(bed):
    """Each rule is on, and has one target that it may invoke."""
    events = bed.account.client("events")
    rules = events.list_rules()["Rules"]
    assert len(rules) >= 9, [rule["Name"] for rule in rules]
    for rule in rules:
        targets = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        assert rule["State"] == "ENABLED" and len(targets) == 1, (rule, targets)
        assert bed.relay.may_invoke(rule["Arn"], targets[0]["Arn"]), f"{rule['Name']} may not invoke its target"


def failures_have_queues(bed, functions):
    """Each function has a queue of its own that is there, and so has the stream; the stream repeats what fails."""
    sqs, lambdas = bed.account.client("sqs"), bed.account.client("lambda")
    queues = {sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
              for url in sqs.list_queues()["QueueUrls"]}
    used = []
    for name in functions:
        settings = lambdas.get_function_event_invoke_config(FunctionName=name, Qualifier="$LATEST")
        used.append(settings["DestinationConfig"]["OnFailure"]["Destination"])
    assert set(used) <= queues and len(set(used)) == len(used), (used, queues)
    mapping, = lambdas.list_event_source_mappings()["EventSourceMappings"]
    assert mapping["DestinationConfig"]["OnFailure"]["Destination"] in queues, mapping
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], mapping
    assert mapping["StartingPosition"] == "TRIM_HORIZON" and mapping["BisectBatchOnFunctionError"], mapping


def answered(bed):
    """The edit is accepted, and the stream, not the minute tick, had it judged."""
    status = bed.account.config()["_status"]["M"]
    assert status["accepted"]["BOOL"] and not status["problems"]["L"], status
    judged = [line for line in bed.account_log("config-change") if "judged" in line and "node#first" in line]
    assert judged, "config-change has not judged the item"


def runs(bed):
    """One instance of the node runs."""
    bed.memory["machine"] = bed.account.machine()


def failures_are_kept(bed):
    """An event that a function fails at is tried three times, and lies in that function's queue then."""
    name, lambdas, sqs = f"{DEPLOYMENT}-spot-interruption", bed.account.client("lambda"), bed.account.client("sqs")
    before = lambdas.get_function_configuration(FunctionName=name)["Environment"]
    # Without its settings the function does not start.
    lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": {}})
    lambdas.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps({"id": "to be kept"}))
    queue = sqs.get_queue_url(QueueName=f"{name}-dead-letters")["QueueUrl"]
    letter, = bed.account.until("the dead letter", 60, lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))
    told = json.loads(letter["Body"])
    assert told["requestPayload"] == {"id": "to be kept"}, told
    assert told["requestContext"]["condition"] == "RetriesExhausted", told
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=letter["ReceiptHandle"])
    lambdas.update_function_configuration(FunctionName=name, Environment=before)
    bed.memory["meant"] = set(errors_of(bed, "spot-interruption"))


def the_guest_writes(bed):
    """Something to lose."""
    machine = bed.account.machine()
    said = bed.world.control("POST", "write", {"instanceId": machine["id"], "times": WRITES})
    bed.memory["machine"], bed.memory["writes"] = machine, said["writes"]


def interrupted(bed):
    """EC2 takes the instance back, with two minutes' notice."""
    the_guest_writes(bed)
    bed.world.control("POST", "interrupt", {"instanceId": bed.memory["machine"]["id"]})


def returned(bed):
    """Another instance with the same address, the same interface and every write."""
    before, now = bed.memory["machine"], bed.account.machine()
    assert now["id"] != before["id"], "it is still the same instance"
    assert (now["address"], now["interface"]) == (before["address"], before["interface"]), (before, now)
    writes = bed.world.control("GET", f"volumes/{now['root']}")["writes"]
    assert now["root"] != before["root"] and writes == bed.memory["writes"], (before, now, writes)
    bed.memory["machine"] = now


def woken_by_events(bed):
    """The events of EC2 found their functions through the deployed rules."""
    returned(bed)
    woken = {name for _, _, name in bed.relay.delivered}
    expected = {f"{DEPLOYMENT}-instance-state", f"{DEPLOYMENT}-storage-state"}
    assert expected <= woken, (woken, bed.relay.delivered)


def warned(bed):
    """The notice came in time for a snapshot, and the node returned."""
    returned(bed)
    assert f"{DEPLOYMENT}-spot-interruption" in {name for _, _, name in bed.relay.delivered}, bed.relay.delivered
    calls = bed.world.control("GET", "calls")["calls"]
    warnings = [call for call in calls if call["operation"] == "CreateSnapshot" and "warning" in str(call["parameters"])]
    assert warnings, "no warning snapshot was taken"


def untouched(bed):
    """An update of the stack reaches neither node nor record, and changes what it was to change."""
    assert bed.account.machine() == bed.memory["machine"], (bed.account.machine(), bed.memory["machine"])
    assert bed.account.record()["phase"]["S"] == "running"
    groups = bed.account.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{DEPLOYMENT}-")["logGroups"]
    kept = {group["logGroupName"]: group.get("retentionInDays") for group in groups}
    assert set(kept.values()) == {14}, kept
    functions = bed.account.client("lambda").list_functions()["Functions"]
    assert {f["FunctionName"]: f["CodeSha256"] for f in functions} == bed.memory["code"], "the code has changed"


def healthy(bed):
    """While all this went on nothing failed: no error in a log, no dead letter, every schedule fired."""
    sqs = bed.account.client("sqs")
    for url in sqs.list_queues()["QueueUrls"]:
        name = "ApproximateNumberOfMessages"
        count = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name]
        assert count == "0", f"{count} dead letters in {url}"
    for name in sorted(path.name for path in (bed.root / "functions").iterdir()):
        errors = [line for line in errors_of(bed, name) if line not in bed.memory["meant"]]
        assert not errors, "\n".join([f"{name}:", *errors])
    minutes = bed.minutes_deployed()
    for name in ("reconcile", "snapshot-schedule", "image-backup"):
        ticks = sum("START RequestId" in line for line in bed.account_log(name))
        assert ticks >= minutes - 1, f"{name} ran {ticks} times in {minutes} minutes"


def errors_of(bed, name):
    """What a function wrote of errors."""
    return [line for line in bed.account_log(name) if '"level":"ERROR"' in line or "errorMessage" in line]


def remove_refuses(bed):
    """As long as the node lives, `make remove` refuses, and names it."""
    said = bed.shell.fails(f"make remove STACK={DEPLOYMENT} REGION=$AWS_REGION", 60)
    assert "node#first" in said, said


def handed_over(bed):
    """Nothing carries a tag of Perennial any more."""
    ec2 = bed.account.client("ec2")
    ours = [{"Name": "tag-key", "Values": ["perennial:node"]}]
    left = [v["VolumeId"] for v in ec2.describe_volumes(Filters=ours)["Volumes"]]
    left += [s["SnapshotId"] for s in ec2.describe_snapshots(Filters=ours)["Snapshots"]]
    left += [n["NetworkInterfaceId"] for n in ec2.describe_network_interfaces(Filters=ours)["NetworkInterfaces"]]
    left += [i["InstanceId"] for i in bed.account.instances()
             if any(tag["Key"].startswith("perennial:") for tag in i.get("Tags", []))]
    assert not left, left
    healthy(bed)


def stack_is_gone(bed):
    """Of the deployment the tables are left, and what `make deploy` put the zips into."""
    left = grown(bed)
    assert set(left) <= {"tables", "buckets", "templates", "roles", "logs"}, left
    assert left["tables"] == {f"{DEPLOYMENT}-config", f"{DEPLOYMENT}-state"}, left


def nothing_is_left(bed):
    """The account is as it was, but for the role that every account with spot instances has."""
    left = grown(bed)
    roles = left.pop("roles", set())
    assert not left, left
    assert len(roles) == 1 and "Spot" in next(iter(roles)), roles


def grown(bed):
    """What there is that was not there at first."""
    now = bed.account.belongings()
    grown = {kind: now[kind] - bed.memory["before"][kind] for kind in now}
    return {kind: things for kind, things in grown.items() if things}


BEFORE = {
    "Prepare the account": [before_anything],
    "Take its instance away": [the_guest_writes],
    "Pause and resume": [the_guest_writes],
    "Give the node up": [remove_refuses],
}
# In the place of the blocks of a section that make sense on AWS alone.
INSTEAD = {
    "Interrupt it with notice": interrupted,
}
AFTER = {
    "Deploy": [deployed],
    "The first node": [answered],
    "Watch it": [runs, failures_are_kept],
    "Take its instance away": [woken_by_events],
    "Interrupt it with notice": [warned],
    "Update": [untouched],
    "Pause and resume": [returned],
    "Give the node up": [handed_over],
    "Remove Perennial": [stack_is_gone],
    "What is left": [nothing_is_left],
}
