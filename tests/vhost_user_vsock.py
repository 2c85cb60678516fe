"""A vsock device for QEMU in user space, for hosts without /dev/vhost-vsock: enough to reach a guest's ports.

It is the back end of ``vhost-user-vsock-pci``: QEMU hands over the guest's memory and two queues, packets are taken
from and put into these. Sources: the vhost-user protocol (QEMU's docs/interop/vhost-user.rst) and the virtio 1.2
specification, 2.7 (split virtqueues) and 5.10 (socket device).
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import queue
import selectors
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path

HOST_CID, GUEST_CID = 2, 3
FIRST_PORT = 40000
WINDOW = 1 << 18  # bytes we let the guest send ahead
PIECE = 3072  # what surely fits into one of the buffers a guest offers, with its header

# vhost-user requests
GET_FEATURES, SET_MEM_TABLE = 1, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL = 8, 9, 10, 11, 12, 13
GET_PROTOCOL_FEATURES, GET_CONFIG = 15, 24
REPLY = 0x5  # version 1, and the reply bit
FEATURES = 1 << 32 | 1 << 30  # VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES
PROTOCOL_FEATURES = 1 << 9  # configuration space
NO_DESCRIPTOR = 1 << 8

# vsock operations
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
PACKET = struct.Struct("<QQIIIHHIII")
NEXT, WRITE = 1, 2


@dataclass
class Region:
    """A part of the guest's memory: its guest-physical and QEMU-virtual addresses, and where we see it."""

    guest: int
    size: int
    user: int
    offset: int
    memory: mmap.mmap


@dataclass
class Queue:
    """A split virtqueue."""

    size: int = 0
    desc: int = 0
    used: int = 0
    avail: int = 0
    seen: int = 0
    kick: int = -1
    call: int = -1


@dataclass
class Stream:
    """A connection: our end of a socket pair, and how much each side has sent and taken."""

    end: socket.socket
    guest_port: int
    open: bool = False
    sent: int = 0
    taken: int = 0
    guest_window: int = 0
    guest_taken: int = 0
    waiting: bytearray = field(default_factory=bytearray)
    finished: bool = False


class VsockDevice:
    """Serves one QEMU that connects to ``path``. ``connect`` gives sockets to the guest's ports."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._regions: list[Region] = []
        self._queues = {0: Queue(), 1: Queue()}
        self._streams: dict[int, Stream] = {}
        self._ports = iter(range(FIRST_PORT, 65536))
        self._asked: queue.Queue[tuple[int, socket.socket]] = queue.Queue()
        self._outgoing: list[bytes] = []
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._master: socket.socket | None = None
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._take_requests)
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def connect(self, port: int) -> socket.socket:
        """A connected socket; a refused one is closed by the other end."""
        ours, theirs = socket.socketpair()
        self._asked.put((port, theirs))
        self._wake.send(b"x")
        return ours

    def close(self) -> None:
        self._ended = True
        self._wake.send(b"x")
        self._thread.join()
        for end in (self._listener, self._wake, self._woken, self._master, *(s.end for s in self._streams.values())):
            if end:
                end.close()
        for item in self._queues.values():
            for fd in (item.kick, item.call):
                if fd >= 0:
                    os.close(fd)
        for region in self._regions:
            region.memory.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select():
                key.data()

    # ---- vhost-user ----

    def _accept(self) -> None:
        self._master, _ = self._listener.accept()
        self._selector.register(self._master, selectors.EVENT_READ, self._take_message)

    def _take_message(self) -> None:
        assert self._master
        head, ancillary, _, _ = self._master.recvmsg(12, socket.CMSG_SPACE(8 * 4))
        if len(head) < 12:
            self._selector.unregister(self._master)
            return
        request, _, size = struct.unpack("<III", head)
        body = self._master.recv(size, socket.MSG_WAITALL) if size else b""
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data[: len(data) // 4 * 4])
        reply = self._handle(request, body, list(fds))
        if reply is not None:
            self._master.sendall(struct.pack("<III", request, REPLY, len(reply)) + reply)

    def _handle(self, request: int, body: bytes, fds: list[int]) -> bytes | None:
        match request:
            case 1:
                return struct.pack("<Q", FEATURES)
            case 15:
                return struct.pack("<Q", PROTOCOL_FEATURES)
            case 24:
                offset, size, _ = struct.unpack_from("<III", body)
                return body[:12] + struct.pack("<Q", GUEST_CID)[offset : offset + size]
            case 5:
                self._map(body, fds)
            case 8 | 10:
                index, value = struct.unpack("<II", body)
                setattr(self._queues[index], "size" if request == SET_VRING_NUM else "seen", value)
            case 9:
                index, _, desc, used, avail, _ = struct.unpack("<IIQQQQ", body)
                item = self._queues[index]
                item.desc, item.used, item.avail = desc, used, avail
            case 11:
                (index,) = struct.unpack_from("<I", body)
                return struct.pack("<II", index, self._queues[index].seen)
            case 12 | 13:
                self._take_descriptor(request, struct.unpack("<Q", body)[0], fds)
        return None

    def _map(self, body: bytes, fds: list[int]) -> None:
        (count,) = struct.unpack_from("<I", body)
        self._regions = []
        for at in range(count):
            guest, size, user, offset = struct.unpack_from("<QQQQ", body, 8 + 32 * at)
            memory = mmap.mmap(fds[at], offset + size)
            os.close(fds[at])
            self._regions.append(Region(guest, size, user, offset, memory))

    def _take_descriptor(self, request: int, value: int, fds: list[int]) -> None:
        item = self._queues[value & 0xFF]
        fd = -1 if value & NO_DESCRIPTOR else fds[0]
        if request == SET_VRING_CALL:
            if item.call >= 0:
                os.close(item.call)
            item.call = fd
            return
        if item.kick >= 0:
            self._selector.unregister(item.kick)
            os.close(item.kick)
        item.kick = fd
        if fd >= 0:
            self._selector.register(fd, selectors.EVENT_READ, self._kicked)

    # ---- queues ----

    def _at(self, address: int, *, user: bool) -> tuple[mmap.mmap, int]:
        for region in self._regions:
            base = region.user if user else region.guest
            if base <= address < base + region.size:
                return region.memory, address - base + region.offset
        raise ValueError(hex(address))

    def _pop(self, index: int) -> tuple[int, list[tuple[int, int, int]]] | None:
        """The next chain the guest offers: its head, and (address, length, flags) of its parts."""
        item = self._queues[index]
        if not item.desc or not self._regions:
            return None
        memory, avail = self._at(item.avail, user=True)
        (ready,) = struct.unpack_from("<H", memory, avail + 2)
        if ready == item.seen:
            return None
        (head,) = struct.unpack_from("<H", memory, avail + 4 + 2 * (item.seen % item.size))
        item.seen = (item.seen + 1) % 65536
        parts, at = [], head
        while True:
            memory, desc = self._at(item.desc, user=True)
            address, length, flags, following = struct.unpack_from("<QIHH", memory, desc + 16 * at)
            parts.append((address, length, flags))
            if not flags & NEXT:
                return head, parts
            at = following

    def _push(self, index: int, head: int, written: int) -> None:
        item = self._queues[index]
        memory, used = self._at(item.used, user=True)
        (at,) = struct.unpack_from("<H", memory, used + 2)
        struct.pack_into("<II", memory, used + 4 + 8 * (at % item.size), head, written)
        struct.pack_into("<H", memory, used + 2, (at + 1) % 65536)
        if item.call >= 0:
            os.write(item.call, struct.pack("<Q", 1))

    def _kicked(self) -> None:
        for item in self._queues.values():
            if item.kick >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.set_blocking(item.kick, False)
                    os.read(item.kick, 8)
        while chain := self._pop(1):
            head, parts = chain
            data = b""
            for address, length, _ in parts:
                memory, at = self._at(address, user=False)
                data += memory[at : at + length]
            self._push(1, head, 0)
            self._take_packet(data)
        self._give_packets()

    def _give_packets(self) -> None:
        while self._outgoing:
            chain = self._pop(0)
            if chain is None:
                return
            head, parts = chain
            packet, written = self._outgoing.pop(0), 0
            for address, length, flags in parts:
                if flags & WRITE and written < len(packet):
                    piece = packet[written : written + length]
                    memory, at = self._at(address, user=False)
                    memory[at : at + len(piece)] = piece
                    written += len(piece)
            self._push(0, head, written)

    # ---- vsock ----

    def _send(self, port: int, stream_port: int, op: int, data: bytes = b"", flags: int = 0) -> None:
        stream = self._streams.get(port)
        taken = stream.taken if stream else 0
        head = (HOST_CID, GUEST_CID, port, stream_port, len(data), 1, op, flags, WINDOW, taken & 0xFFFFFFFF)
        self._outgoing.append(PACKET.pack(*head) + data)
        self._give_packets()

    def _take_requests(self) -> None:
        self._woken.recv(100)
        while not self._asked.empty():
            guest_port, end = self._asked.get()
            port = next(self._ports)
            self._streams[port] = Stream(end, guest_port)
            self._send(port, guest_port, REQUEST)

    def _take_packet(self, data: bytes) -> None:
        _, _, guest_port, port, length, _, op, flags, window, taken = PACKET.unpack_from(data)
        stream = self._streams.get(port)
        if stream is None:
            if op != RST:
                self._send(port, guest_port, RST)
            return
        stream.guest_window, stream.guest_taken = window, taken
        if op == RESPONSE:
            stream.open = True
            self._selector.register(stream.end, selectors.EVENT_READ, lambda: self._read(port))
        elif op == RW:
            stream.taken += length
            with contextlib.suppress(OSError):
                stream.end.sendall(data[PACKET.size : PACKET.size + length])
            self._send(port, guest_port, CREDIT_UPDATE)
        elif op == CREDIT_REQUEST:
            self._send(port, guest_port, CREDIT_UPDATE)
        elif op == RST or (op == SHUTDOWN and flags == 3):
            self._end(port)
            if op == SHUTDOWN:
                self._send(port, guest_port, RST)
            return
        self._continue(port)

    def _read(self, port: int) -> None:
        stream = self._streams[port]
        try:
            data = stream.end.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if data:
            stream.waiting += data
        else:
            stream.finished = True
        if not data or len(stream.waiting) > WINDOW:
            self._selector.unregister(stream.end)
        self._continue(port)

    def _continue(self, port: int) -> None:
        """Send what the guest has room for; then the end, if that is what is left."""
        stream = self._streams[port]
        while stream.waiting:
            room = stream.guest_window - ((stream.sent - stream.guest_taken) & 0xFFFFFFFF)
            piece = bytes(stream.waiting[: min(PIECE, max(room, 0))])
            if not piece:
                return
            del stream.waiting[: len(piece)]
            stream.sent += len(piece)
            self._send(port, stream.guest_port, RW, piece)
        if stream.finished and stream.open:
            stream.open = False
            self._send(port, stream.guest_port, SHUTDOWN, flags=3)
        elif stream.open and not stream.finished and stream.end not in self._selector.get_map():
            self._selector.register(stream.end, selectors.EVENT_READ, lambda: self._read(port))

    def _end(self, port: int) -> None:
        stream = self._streams.pop(port)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(stream.end)
        stream.end.close()
