#!/usr/bin/env bash
# Puts the zips of `make build` into the functions of a stack, and changes nothing else of it: `make deploy-code`.
# For a new version of the code whose template has not changed; anything else is `make deploy`. Of each function a
# numbered version stays, which costs nothing; the events go to the newest code.
set -euo pipefail
# shellcheck source=infra/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

check_inputs deploy-code
command -v cargo-lambda >/dev/null || fail "cargo-lambda is missing: run \`make tools\`, and this by make."
stack_status=$(status)
[[ $stack_status != ABSENT ]] || fail "There is no stack $STACK in $REGION. Make it first: make deploy STACK=$STACK REGION=$REGION"
deployment=$(parameter Deployment)
[[ $deployment ]] || fail "The stack $STACK is none of Perennial: it has no parameter Deployment."
# Of the stack, not of whoever calls: code for the other processor would not start.
check_zips "$(parameter Architecture)"

names=$(call cloudformation list-stack-resources --stack-name "$STACK" --output text \
  --query "StackResourceSummaries[?ResourceType=='AWS::Lambda::Function'].[PhysicalResourceId]")
for folder in $(folders); do
  grep -qx -- "$deployment-$folder" <<<"$names" ||
    fail "The stack $STACK has no function $deployment-$folder: its template is another version's. Run \`make deploy\` instead."
done
for folder in $(folders); do
  printf '%s\n' "$deployment-$folder"
  # shellcheck disable=SC2154
  cargo-lambda lambda deploy --region "$REGION" ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} \
    --lambda-dir "$lambda" --binary-name "perennial-$folder" "$deployment-$folder" >/dev/null
done
