"""What the checks ask of the account: the deployment in ministack, the machines in the local cloud.

Reads only. It answers with plain values; whether they are right is said in `checks`.
"""

import time

DEPLOYMENT = "perennial"
NODE = "first"


class Account:
    """One account, seen by its operator."""

    def __init__(self, world, say):
        self.world, self.say = world, say
        self.environment = world.environment()

    def client(self, service):
        """A client of the emulator that stands for `service`."""
        # Here, so that the guide can be tested without the emulator's virtual environment.
        import boto3
        from botocore.config import Config

        name = "AWS_ENDPOINT_URL_EC2" if service == "ec2" else "AWS_ENDPOINT_URL"
        return boto3.client(
            service, endpoint_url=self.environment[name], region_name=self.environment["AWS_REGION"],
            aws_access_key_id="test", aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 2}, read_timeout=20))

    def until(self, what, seconds, question):
        """Asks until the answer is true, and returns it; says what is waited for."""
        self.say(f"  waiting for {what} (at most {seconds} s)")
        deadline = time.monotonic() + seconds
        while True:
            answer = question()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not within {seconds} seconds")
            time.sleep(1)

    def item(self, table, key):
        """One item as DynamoDB writes it; empty if there is none."""
        return self.client("dynamodb").get_item(
            TableName=f"{DEPLOYMENT}-{table}", Key=key, ConsistentRead=True).get("Item", {})

    def record(self):
        """The record of the guide's node."""
        return self.item("state", {"pk": {"S": f"node#{NODE}"}, "sk": {"S": "record"}})

    def config(self):
        """The item of the guide's node."""
        return self.item("config", {"id": {"S": f"node#{NODE}"}})

    def instances(self):
        """Instances that are not on their way out."""
        states = ["pending", "running", "stopping", "stopped"]
        answer = self.client("ec2").describe_instances(Filters=[{"Name": "instance-state-name", "Values": states}])
        return [instance for group in answer["Reservations"] for instance in group["Instances"]]

    def machine(self):
        """The node's one instance: id, private address, interface and root volume."""
        found = [i for i in self.instances() if {"Key": "perennial:node", "Value": NODE} in i.get("Tags", [])]
        if len(found) != 1 or found[0]["State"]["Name"] != "running":
            raise AssertionError(f"not one running instance, but {[(i['InstanceId'], i['State']['Name']) for i in found]}")
        root = [m["Ebs"]["VolumeId"] for m in found[0]["BlockDeviceMappings"]
                if m["DeviceName"] == found[0]["RootDeviceName"]]
        return {"id": found[0]["InstanceId"], "address": found[0]["PrivateIpAddress"],
                "interface": found[0]["NetworkInterfaces"][0]["NetworkInterfaceId"], "root": root[0]}

    def base_image(self):
        """The image that the local cloud has from the start."""
        images = self.client("ec2").describe_images(Owners=["self"])["Images"]
        return next(image["ImageId"] for image in images if image["Name"].startswith("base-"))

    def belongings(self):
        """Everything in the Region that costs, or could be in the way: what the guide must leave as it was."""
        ec2 = self.client("ec2")
        return {
            "instances": {i["InstanceId"] for i in self.instances()},
            "volumes": {v["VolumeId"] for v in ec2.describe_volumes()["Volumes"]},
            "snapshots": {s["SnapshotId"] for s in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]},
            "images": {i["ImageId"] for i in ec2.describe_images(Owners=["self"])["Images"]},
            "interfaces": {n["NetworkInterfaceId"] for n in ec2.describe_network_interfaces()["NetworkInterfaces"]},
            "templates": {t["LaunchTemplateId"] for t in ec2.describe_launch_templates()["LaunchTemplates"]},
            "stacks": {s["StackName"] for s in self.client("cloudformation").describe_stacks()["Stacks"]},
            "functions": {f["FunctionName"] for f in self.client("lambda").list_functions()["Functions"]},
            "rules": {r["Name"] for r in self.client("events").list_rules()["Rules"]},
            "buses": {b["Name"] for b in self.client("events").list_event_buses()["EventBuses"]},
            "queues": set(self.client("sqs").list_queues().get("QueueUrls", [])),
            "topics": {t["TopicArn"] for t in self.client("sns").list_topics()["Topics"]},
            "alarms": {a["AlarmName"] for a in self.client("cloudwatch").describe_alarms()["MetricAlarms"]},
            "dashboards": {d["DashboardName"] for d in self.client("cloudwatch").list_dashboards()["DashboardEntries"]},
            "logs": {g["logGroupName"] for g in self.client("logs").describe_log_groups()["logGroups"]},
            "tables": set(self.client("dynamodb").list_tables()["TableNames"]),
            "buckets": {b["Name"] for b in self.client("s3").list_buckets()["Buckets"]},
            "roles": {r["RoleName"] for r in self.client("iam").list_roles()["Roles"]},
        }
