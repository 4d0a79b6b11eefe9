#!/bin/sh
# A batch with nothing but curl: created, watched, fetched. Needs ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY.
set -eu

call() {
    curl --silent --show-error --fail-with-body \
        --header "x-api-key: $ANTHROPIC_API_KEY" \
        --header "anthropic-version: 2023-06-01" \
        --header "content-type: application/json" "$@"
}

text_of() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

batch=$(call "$ANTHROPIC_BASE_URL/v1/messages/batches" --data '{
  "requests": [
    {"custom_id": "first", "params": {"model": "claude-haiku-4-5-20251001", "max_tokens": 64,
      "messages": [{"role": "user", "content": "Hello, world"}]}},
    {"custom_id": "second", "params": {"model": "claude-haiku-4-5-20251001", "max_tokens": 64,
      "messages": [{"role": "user", "content": "Hi again, friend"}]}}
  ]}' | sed 's/,/,\n/g' | text_of id)
echo "created $batch" >&2

until call "$ANTHROPIC_BASE_URL/v1/messages/batches/$batch" | grep -q '"processing_status": *"ended"'; do
    sleep "${POLL_SECONDS:-1}"
done

call "$ANTHROPIC_BASE_URL/v1/messages/batches/$batch/results"
