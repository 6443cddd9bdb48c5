#!/bin/sh
# The main job, once through: start a server, ask the demo models for a story and a picture, show what runs, stop.
# Uses a store and a port of its own, so nothing is disturbed and nothing is left behind.
set -eu
bin=$(cd "$1" && pwd)
PADDOCK_HOME=$(mktemp -d)
port=$("$bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
PADDOCK_HOST=127.0.0.1:$port
export PADDOCK_HOME PADDOCK_HOST
unset PADDOCK_MODELS OLLAMA_MODELS
trap '"$bin/paddock" stop --server >/dev/null 2>&1 || true; rm -rf "$PADDOCK_HOME"' EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m$ paddock %s\033[0m\n' "$1"; }

say 'run demo "Tell me a story about a red fox"'
"$bin/paddock" run demo "Tell me a story about a red fox"
say 'run demo-image "a red circle on a blue background" -o circle.png'
(cd "$PADDOCK_HOME" && "$bin/paddock" run demo-image "a red circle on a blue background" -o circle.png)
say ps
"$bin/paddock" ps
say 'stop --server'
"$bin/paddock" stop --server
