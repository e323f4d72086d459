#!/bin/sh
# Give Kafka Connect its connectors, again and again until it takes them; PUT makes or changes.
set -eu
for file in /connectors/*.json; do
    name=$(basename "$file" .json)
    until curl --silent --show-error --fail-with-body --output /dev/null --request PUT \
        --header 'Content-Type: application/json' --data "@$file" "http://connect:8083/connectors/$name/config"; do
        echo "connector $name: Connect does not take it yet"
        sleep 3
    done
    echo "connector $name: registered"
done
