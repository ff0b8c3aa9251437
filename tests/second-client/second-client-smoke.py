#!/usr/bin/python3
"""A third reading of the protocol: python3-protobuf with code that protoc makes from schema/warden.proto.

WARDEN_SOCKET names the server's socket. Prints TAP; exits 0 when every test passed.
"""
import importlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
ANSWER_SECONDS = 40


def compile_schema(directory):
    """The schema as the existing clients have it: without the option that C++ asks for."""
    text = (ROOT / "schema" / "warden.proto").read_text()
    pathlib.Path(directory, "warden.proto").write_text(
        text.replace("option optimize_for = LITE_RUNTIME;\n", ""))
    subprocess.run(["protoc", f"--proto_path={directory}", f"--python_out={directory}",
                    "warden.proto"], check=True)
    sys.path.insert(0, directory)
    return importlib.import_module("warden_pb2")


class ServerError(Exception):
    pass


class Client:
    def __init__(self, pb, path):
        self.pb = pb
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(ANSWER_SECONDS)
        self.socket.connect(path)
        self.reader = self.socket.makefile("rb")

    def send(self, name, **fields):
        request = getattr(self.pb, name + "Request")(**fields)
        message = self.pb.Message(type=self.pb.Message.Type.Value(name),
                                  payload=request.SerializeToString())
        body = message.SerializeToString()
        self.socket.sendall(b"%d\r\n%s\r\n" % (len(body), body))

    def receive(self, name):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError(f"no answer, but {line!r}")
        message = self.pb.Message.FromString(self.reader.read(int(line)))
        if self.reader.read(2) != b"\r\n":
            raise ConnectionError("frame is not terminated")
        type_name = self.pb.Message.Type.Name(message.type)
        if type_name == "Error":
            raise ServerError(self.pb.ErrorResponse.FromString(message.payload).message)
        if type_name != name:
            raise ConnectionError(f"answer to {type_name} instead of {name}")
        return getattr(self.pb, name + "Response").FromString(message.payload)

    def call(self, name, **fields):
        self.send(name, **fields)
        return self.receive(name)

    def refusal(self, name, **fields):
        try:
            return self.call(name, **fields)
        except ServerError as error:
            return error.args[0]


class Tap:
    count = 0
    failures = 0

    def same(self, name, got, wanted):
        self.count += 1
        ok = got == wanted
        print(f"{'ok' if ok else 'not ok'} {self.count} - {name}", flush=True)
        if not ok:
            self.failures += 1
            print(f"# got {got!r}, wanted {wanted!r}", flush=True)


def run_tests(tap, client):
    client.call("Ping")
    tap.same("ping", True, True)
    every_byte = bytes(range(256))
    tap.same("echo", client.call("Echo", message=every_byte).message, every_byte)

    name = b"python \xff\xfe/\xc3\xa4"
    handle = client.call("Create", handle=name).handle
    try:
        tap.same("create", handle, name)
        tap.same("list", name in client.call("List").handles, True)
        tap.same("taken", client.refusal("Create", handle=name),
                 b"container with handle: " + name + b" already exists.")
        tap.same("info", client.call("Info", handle=handle).state, b"active")

        result = client.call("Run", handle=handle, script=b"printf '\\377\\000'; echo err >&2; exit 9")
        tap.same("run", (result.exit_status, result.stdout, result.stderr), (9, b"\xff\x00", b"err\n"))

        job = client.call("Spawn", handle=handle, script=b"echo a; sleep 0.2; echo b; exit 4").job_id
        client.send("Stream", handle=handle, job_id=job)
        data = b""
        while True:
            piece = client.receive("Stream")
            if piece.HasField("exit_status"):
                break
            tap.same("a piece of stdout", piece.name, b"stdout")
            data += piece.data
        tap.same("stream", (data, piece.exit_status, piece.HasField("info"), piece.HasField("data")),
                 (b"a\nb\n", 4, True, False))

        job = client.call("Spawn", handle=handle, script=b"echo linked").job_id
        tap.same("link", client.call("Link", handle=handle, job_id=job).stdout, b"linked\n")
        tap.same("no such job", client.refusal("Link", handle=handle, job_id=job), b"no such job")
        client.call("Stop", handle=handle, kill=True)
        tap.same("stop", client.call("Info", handle=handle).state, b"stopped")
    finally:
        client.call("Destroy", handle=handle)
    tap.same("destroy", client.refusal("Info", handle=handle), b"unknown handle")


def main():
    path = os.environ.get("WARDEN_SOCKET")
    if not path:
        sys.exit("second-client-smoke: WARDEN_SOCKET is not set")
    tap = Tap()
    with tempfile.TemporaryDirectory() as directory:
        try:
            run_tests(tap, Client(compile_schema(directory), path))
        except Exception:  # whatever it is, it is a failure to be shown
            tap.failures += 1
            for line in traceback.format_exc().splitlines():
                print("#", line)
            print(f"not ok {tap.count + 1} - the script came to its end")
            tap.count += 1
    print(f"1..{tap.count}")
    return 1 if tap.failures else 0


if __name__ == "__main__":
    sys.exit(main())
