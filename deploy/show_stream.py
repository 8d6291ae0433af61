"""Server-sent events of /v1/generate on stdin, their text on stdout as it comes. Status 1: no whole answer."""
import json
import sys


def main():
    last = None
    for line in sys.stdin.buffer:
        line = line.decode("utf-8", "replace").rstrip("\r\n")
        if line == "data: [DONE]":
            print(flush=True)
            return 0
        if not line.startswith("data: "):
            if line.startswith("{"):  # not a stream: the server said no
                last = line
            continue
        frame = json.loads(line[6:])
        if "error" in frame:
            last = line[6:]
            break
        sys.stdout.write(frame["text"])
        sys.stdout.flush()
    why = json.loads(last)["error"]["message"] if last else "the stream ended early"
    print(f"\n{why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
