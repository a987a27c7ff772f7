#!/usr/bin/env bash
# Deletes the stack of a deployment that has no nodes, and says what outlives it: `make remove`.
# Refuses while there is anything that only Perennial would look after: items, records, resources with its tags. It
# deletes none of them; how each goes is said.
set -euo pipefail
# shellcheck source=infra/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

check_inputs remove
stack_status=$(status)
case $stack_status in
  ABSENT) fail "There is no stack $STACK in $REGION. Those there are: aws --region $REGION cloudformation list-stacks" ;;
  *_IN_PROGRESS) fail "The stack $STACK is in $stack_status. Wait until that has ended, and try again." ;;
esac
deployment=$(parameter Deployment)
[[ $deployment ]] || fail "The stack $STACK is none of Perennial: it has no parameter Deployment."

# What keeps the deployment from being removed, a line each.
found=()
# Adds the lines of a text. `None` is what the CLI says for nothing.
note() {
  local line
  while IFS= read -r line; do
    [[ ! $line || $line == None ]] || found+=("  $line")
  done <<<"$1"
}

items() {
  # The item of all nodes is no node.
  call dynamodb scan --table-name "$deployment-config" --consistent-read --projection-expression id \
    --query 'Items[].[id.S]' --output text | sed '/^settings$/d; /^None$/d' | sort
}

records() {
  # A node of the phase gone has left nothing; a group that was removed has, until its last backup is gone.
  call dynamodb scan --table-name "$deployment-state" --consistent-read \
    --projection-expression 'pk, #phase, reason' --filter-expression \
    'sk = :record AND ((begins_with(pk, :node) AND #phase <> :gone) OR (begins_with(pk, :group) AND (attribute_not_exists(#removed) OR #removed = :no OR attribute_exists(backups))))' \
    --expression-attribute-names '{"#phase": "phase", "#removed": "removed"}' \
    --expression-attribute-values '{":record": {"S": "record"}, ":node": {"S": "node#"}, ":group": {"S": "group#"}, ":gone": {"S": "gone"}, ":no": {"BOOL": false}}' \
    --query "Items[].[pk.S, phase.S || 'not given up, or with backups', reason.S || '']" --output text | sort
}

# Ids of what carries the deployment's tag: a describe call, and where the id and the state are in its answer.
tagged() {
  local query=$1
  shift
  call ec2 "$@" --filters "Name=tag:perennial:deployment,Values=$deployment" --query "$query" --output text
}

if has_table "$deployment-config"; then
  text=$(items)
  note "$(sed '/./s/$/\tits item is in the table/' <<<"$text")"
fi
if has_table "$deployment-state"; then
  text=$(records)
  note "$text"
fi
nodes=${#found[@]}
text=$(tagged "Reservations[].Instances[?State.Name!='terminated'][].[InstanceId, State.Name]" describe-instances)
note "$text"
text=$(tagged 'Volumes[].[VolumeId, State]' describe-volumes)
note "$text"
text=$(tagged 'Snapshots[].[SnapshotId, State]' describe-snapshots --owner-ids self)
note "$text"
text=$(tagged 'Images[].[ImageId, State]' describe-images --owners self)
note "$text"
text=$(tagged 'NetworkInterfaces[].[NetworkInterfaceId, Status]' describe-network-interfaces)
note "$text"

if ((${#found[@]})); then
  {
    printf 'Not removed: the deployment %s still looks after something.\n' "$deployment"
    printf '%s\n' "${found[@]}"
    if ((nodes)); then
      printf '%s\n' \
        "Nodes: delete the item, and wait until the phase is gone: the node is deallocated, and purged when retention.after is over" \
        "(1h at least). To keep the instance and its volumes, set desiredState to released first, and delete the item when it is gone." \
        "Groups: delete the group's item first, then those of its members (docs/OPERATIONS.md, \"Run a group\")." \
        "  aws --region $REGION dynamodb delete-item --table-name $deployment-config --key '{\"id\": {\"S\": \"node#<name>\"}}'"
    fi
    if ((${#found[@]} > nodes)); then
      printf '%s\n' \
        "Resources in EC2: they go with their node, or no record explains them (docs/OPERATIONS.md, \"What the orphan pass reports\")." \
        "Delete what you do not need; what you want to keep becomes yours when it loses the tag:" \
        "  aws --region $REGION ec2 delete-tags --resources <id> --tags Key=perennial:deployment"
    fi
  } >&2
  exit 1
fi

printf 'Deleting the stack %s in %s. This takes a few minutes.\n' "$STACK" "$REGION"
call cloudformation delete-stack --stack-name "$STACK"
call cloudformation wait stack-delete-complete --stack-name "$STACK" ||
  fail "The stack $STACK was not deleted entirely; it says why, and can be deleted again then:" \
    "  aws --region $REGION cloudformation describe-stack-events --stack-name $STACK"

printf 'Deleted. What is left, and how it goes:\n'
for table in "$deployment-config" "$deployment-state"; do
  if has_table "$table"; then
    printf '  the table %s, kept since it is the only copy of what is in it\n' "$table"
    printf '    aws --region %s dynamodb update-table --table-name %s --no-deletion-protection-enabled\n' "$REGION" "$table"
    printf '    aws --region %s dynamodb delete-table --table-name %s\n' "$REGION" "$table"
  fi
done
# shellcheck disable=SC2154
bucket=${BUCKET:-perennial-code-$account-$REGION}
if call s3api head-bucket --bucket "$bucket" >/dev/null 2>&1; then
  printf '  the code of this stack in the bucket %s\n' "$bucket"
  printf '    aws --region %s s3 rm --recursive s3://%s/%s/\n' "$REGION" "$bucket" "$STACK"
  printf '    aws --region %s s3 rb s3://%s   # if no other stack has its code there\n' "$REGION" "$bucket"
fi
logs=$(call logs describe-log-groups --log-group-name-prefix "/aws/lambda/$deployment-" \
  --query 'logGroups[].[logGroupName]' --output text)
for folder in $(folders); do
  if grep -qx -- "/aws/lambda/$deployment-$folder" <<<"$logs"; then
    printf '  the log of %s-%s, to which a last line came late\n' "$deployment" "$folder"
    printf '    aws --region %s logs delete-log-group --log-group-name /aws/lambda/%s-%s\n' "$REGION" "$deployment" "$folder"
  fi
done
