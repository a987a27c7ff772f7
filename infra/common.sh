# What the scripts of this folder have in common: their inputs, and calls of the AWS CLI (version 1 or 2) in one Region.
# Sourced, never run. Says what is missing and what helps; decides nothing about the account.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Used by those who source this.
# shellcheck disable=SC2034
lambda=$root/target/lambda
# Version 2 would open a pager and wait for a key.
export AWS_PAGER=""

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# The AWS CLI in the stack's Region, whatever the profile says.
call() { aws --region "$REGION" "$@"; }

# STACK and REGION, the AWS CLI, and credentials that it can use; sets `account`.
check_inputs() {
  local usage="usage: make $1 STACK=perennial REGION=eu-central-1"
  [[ ${STACK:-} ]] || fail "STACK is missing: the name of the CloudFormation stack." "$usage"
  [[ $STACK =~ ^[A-Za-z][A-Za-z0-9-]{0,127}$ ]] ||
    fail "STACK is \"$STACK\": write letters, digits and hyphens, at most 128, beginning with a letter." "$usage"
  [[ ${REGION:-} ]] || fail "REGION is missing: the Region whose instances are kept." "$usage"
  [[ $REGION =~ ^[a-z]{2,}(-[a-z]+)+-[0-9]+$ ]] ||
    fail "REGION is \"$REGION\": write a Region such as eu-central-1." "$usage"
  command -v aws >/dev/null ||
    fail "The AWS CLI is missing. Install it (https://aws.amazon.com/cli/), or run \`make tools\`, which puts one into target/tools."
  local identity said
  said=$(mktemp)
  if ! identity=$(call sts get-caller-identity --query Account --output text 2>"$said"); then
    said=$(cat "$said" && rm -f "$said")
    fail "AWS knows no credentials of yours, or they have expired:" "  ${said##*$'\n'}" \
      "Run \`aws configure\` or \`aws sso login\`, or name a profile with AWS_PROFILE."
  fi
  rm -f "$said"
  # shellcheck disable=SC2034
  account=$identity
}

# The value of a parameter of the stack as it is deployed; nothing if there is no such stack or parameter.
parameter() {
  local value
  value=$(call cloudformation describe-stacks --stack-name "$STACK" --output text \
    --query "Stacks[0].Parameters[?ParameterKey=='$1'].ParameterValue | [0]" 2>/dev/null) || return 0
  [[ $value == None ]] || printf '%s\n' "$value"
}

# The stack's status, or `ABSENT`.
status() {
  local value
  if value=$(call cloudformation describe-stacks --stack-name "$STACK" --output text \
    --query 'Stacks[0].StackStatus' 2>&1); then
    printf '%s\n' "$value"
  elif [[ $value == *"does not exist"* ]]; then
    printf 'ABSENT\n'
  else
    fail "The stack $STACK cannot be looked at:" "  ${value##*$'\n'}"
  fi
}

has_table() { call dynamodb describe-table --table-name "$1" >/dev/null 2>&1; }

# Every function's zip is there, and is for this architecture.
check_zips() {
  python3 "$root/infra/zips.py" --architecture "$1" --only-look || exit 1
}

# The names of the folders of the functions.
folders() { (cd "$root/functions" && printf '%s\n' */) | tr -d /; }
