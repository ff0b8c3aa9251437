#!/usr/bin/python3
"""A third reading of the protocol: python3-protobuf with code that protoc makes from schema/warden.proto.

WARDEN_SOCKET names the server's socket; WARDEN_DISK_QUOTA is set where it can limit disks. Prints TAP; exits 0 when every test passed.
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


def refusal_of(tap, client, name, request, **fields):
    tap.same(name, isinstance(client.refusal(request, **fields), bytes), True)


def run_limit_tests(tap, client, handle):
    mib = 1024 * 1024
    tap.same("memory", client.call("LimitMemory", handle=handle).limit_in_bytes, 9223372036854771712)
    for limit in (64 * mib, 128 * mib, 48 * mib):
        tap.same("limit memory",
                 client.call("LimitMemory", handle=handle, limit_in_bytes=limit).limit_in_bytes, limit)
    tap.same("cpu", client.call("LimitCpu", handle=handle).limit_in_shares, 1024)
    tap.same("limit cpu", client.call("LimitCpu", handle=handle, limit_in_shares=1).limit_in_shares, 2)
    answer = client.call("LimitBandwidth", handle=handle, rate=1000000, burst=100000)
    tap.same("limit bandwidth", (answer.rate, answer.burst), (1000000, 100000))
    if "WARDEN_DISK_QUOTA" in os.environ:
        answer = client.call("LimitDisk", handle=handle, byte_limit=20 * mib)
        tap.same("limit disk", (answer.byte_hard, answer.block_soft), (20 * mib, 20 * 1024))

    info = client.call("Info", handle=handle)
    tap.same("memory_stat", info.memory_stat.hierarchical_memory_limit, 48 * mib)
    tap.same("cpu_stat", info.cpu_stat.HasField("usage"), True)
    tap.same("bandwidth_stat",
             (info.bandwidth_stat.in_rate, info.bandwidth_stat.out_burst), (1000000, 100000))


def run_network_tests(tap, client, handle):
    info = client.call("Info", handle=handle)
    host, container = (tuple(map(int, address.split(b".")))
                       for address in (info.host_ip, info.container_ip))
    tap.same("addresses", container, host[:3] + (host[3] + 1,))
    answer = client.call("NetIn", handle=handle)
    tap.same("net in", answer.host_port, answer.container_port)
    answer = client.call("NetIn", handle=handle, host_port=4712, container_port=80)
    tap.same("net in of a port", (answer.host_port, answer.container_port), (4712, 80))
    refusal_of(tap, client, "net in again", "NetIn", handle=handle, host_port=4712)
    refusal_of(tap, client, "net in of no port", "NetIn", handle=handle, host_port=0)

    kinds = client.pb.NetOutRequest
    for fields in ({"network": b"10.0.0.0/8"}, {"port": 53, "protocol": kinds.UDP},
                   {"network": b"10.0.0.1-10.0.0.9", "port_range": b"80:90", "log": True},
                   {"network": b"10.0.0.1", "protocol": kinds.ICMP, "icmp_type": 8, "icmp_code": -1},
                   {"network": b"10.0.0.1", "protocol": kinds.ALL}):
        tap.same(f"net out {fields}", client.refusal("NetOut", handle=handle, **fields),
                 client.pb.NetOutResponse())
    tap.same("net out of nothing", client.refusal("NetOut", handle=handle),
             b"Please specify network, port, and/or port_range.")
    refusal_of(tap, client, "net out of no network", "NetOut", handle=handle,
               network=b"0.0.0.0/0 -j ACCEPT")
    refusal_of(tap, client, "a taken network", "Create", network=info.container_ip)


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

        run_limit_tests(tap, client, handle)
        run_network_tests(tap, client, handle)

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
