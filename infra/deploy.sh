#!/usr/bin/env bash
# Packages infra/template.yaml with the zips of `make build` and makes or updates the stack: `make deploy`.
# Asks for nothing; whatever is missing is said with what helps. Never changes the name of a deployment that is there,
# and never deletes anything.
set -euo pipefail
# shellcheck source=infra/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

check_inputs deploy
ARCH=${ARCH:-arm64}
[[ $ARCH == arm64 || $ARCH == x86_64 ]] || fail "ARCH is \"$ARCH\": write arm64 or x86_64."
check_zips "$ARCH"

# What is not named keeps the value that the stack has, or takes the template's default.
overrides=("Architecture=$ARCH")
read -r -a asked <<<"${PARAMETERS:-}"
# Without the detour, bash before 4.4 takes an empty list for an unset one.
for one in ${asked[@]+"${asked[@]}"}; do
  [[ $one =~ ^[A-Za-z0-9]+=[^[:space:]]*$ ]] ||
    fail "PARAMETERS has \"$one\": write Name=value, separated by spaces, lists with commas."
  case $one in
    Deployment=*) fail "Name the deployment with DEPLOYMENT=${one#*=}, not in PARAMETERS." ;;
    Architecture=*) fail "Name the architecture with ARCH=${one#*=}, not in PARAMETERS." ;;
  esac
  overrides+=("$one")
done

stack_status=$(status)
case $stack_status in
  ABSENT | REVIEW_IN_PROGRESS) deployed="" ;;
  ROLLBACK_COMPLETE | ROLLBACK_FAILED | DELETE_FAILED)
    fail "The stack $STACK is in $stack_status, from which it cannot be updated. Look at why, then delete what is left of it:" \
      "  aws --region $REGION cloudformation describe-stack-events --stack-name $STACK" \
      "  aws --region $REGION cloudformation delete-stack --stack-name $STACK"
    ;;
  *_IN_PROGRESS) fail "The stack $STACK is in $stack_status. Wait until that has ended, and deploy again." ;;
  *) deployed=$(parameter Deployment) ;;
esac

deployment=${DEPLOYMENT:-${deployed:-perennial}}
[[ $deployment =~ ^[a-z0-9][a-z0-9-]{0,31}$ ]] ||
  fail "DEPLOYMENT is \"$deployment\": write lower-case letters, digits and hyphens, at most 32, beginning with a letter or digit."
if [[ $deployed && $deployment != "$deployed" ]]; then
  fail "The stack $STACK is the deployment $deployed. Under another name it would begin with empty tables and lose sight of its nodes." \
    "Leave DEPLOYMENT out, or make another stack (STACK=…) for the deployment $deployment."
fi
overrides+=("Deployment=$deployment")
if [[ ! $deployed ]]; then
  for table in "$deployment-config" "$deployment-state"; do
    if has_table "$table"; then
      fail "There is a table $table in $REGION already, and no stack $STACK: it outlived a stack that was removed, or belongs to another one." \
        "Take another name (DEPLOYMENT=…), or delete both tables if nothing in them is needed, by the commands that \`make remove\` named:" \
        "  aws --region $REGION dynamodb update-table --table-name $table --no-deletion-protection-enabled" \
        "  aws --region $REGION dynamodb delete-table --table-name $table"
    fi
  done
fi

# shellcheck disable=SC2154
bucket=${BUCKET:-perennial-code-$account-$REGION}
if [[ ! ${BUCKET:-} ]] && ! call s3api head-bucket --bucket "$bucket" --expected-bucket-owner "$account" >/dev/null 2>&1; then
  printf 'Making the bucket %s for the code.\n' "$bucket"
  # us-east-1 is where a bucket is made if nothing is said, and must not be said.
  where=()
  [[ $REGION == us-east-1 ]] || where=(--create-bucket-configuration "LocationConstraint=$REGION")
  call s3api create-bucket --bucket "$bucket" ${where[@]+"${where[@]}"} >/dev/null ||
    fail "The bucket $bucket could not be made. If it is not yours, name one of your own in $REGION with BUCKET=…"
  call s3api put-public-access-block --bucket "$bucket" --public-access-block-configuration \
    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
elif [[ ${BUCKET:-} ]] && ! call s3api head-bucket --bucket "$bucket" --expected-bucket-owner "$account" >/dev/null 2>&1; then
  fail "There is no bucket $bucket of this account that you may use. Make it, or leave BUCKET out."
fi

# shellcheck disable=SC2154
packaged=$root/target/packaged.yaml
said=$(mktemp)
trap 'rm -f "$said"' EXIT
printf 'Uploading the code to s3://%s/%s.\n' "$bucket" "$STACK"
# It draws progress bars where nobody looks.
call cloudformation package --template-file "$root/infra/template.yaml" --s3-bucket "$bucket" --s3-prefix "$STACK" \
  --output-template-file "$packaged" >/dev/null 2>"$said" ||
  fail "The code could not be uploaded:" "$(tr '\r' '\n' <"$said" | tail -n 3)"

printf 'Deploying the stack %s in %s, account %s: deployment %s, %s. This takes a few minutes.\n' \
  "$STACK" "$REGION" "$account" "$deployment" "$ARCH"
if ! call cloudformation deploy --template-file "$packaged" --stack-name "$STACK" \
  --s3-bucket "$bucket" --s3-prefix "$STACK" --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND \
  --no-fail-on-empty-changeset --parameter-overrides "${overrides[@]}" >/dev/null 2>"$said"; then
  why=$(tr '\r' '\n' <"$said" | tail -n 1)
  printf 'The deployment failed:\n  %s\n' "$why" >&2
  # What AWS refused before it began has left no event.
  if [[ $why == *"Failed to create/update the stack"* ]]; then
    call cloudformation describe-stack-events --stack-name "$STACK" --output text --query \
      "StackEvents[?contains(ResourceStatus, 'FAILED') && ResourceStatusReason].[LogicalResourceId, ResourceStatusReason]" |
      head -n 10 | sed 's/^/  /' >&2 || true
  fi
  exit 1
fi

printf 'Deployed:\n'
call cloudformation describe-stacks --stack-name "$STACK" --output text \
  --query 'Stacks[0].Outputs[].[OutputKey, OutputValue]' | sed 's/^/  /'
# Only a hint: whoever deploys may have no right to look.
if [[ $(call iam get-role --role-name AWSServiceRoleForEC2Spot 2>&1) == *NoSuchEntity* ]]; then
  printf 'No spot instance was ever started in this account. Once, before the first node:\n  %s\n' \
    'aws iam create-service-linked-role --aws-service-name spot.amazonaws.com'
fi
