"""Talks WebSocket to the specimen with the `websockets` package from PyPI.

Usage: websocket_peer.py ws://HOST:PORT/echo
"""

import asyncio
import sys

import websockets


async def main() -> None:
    async with websockets.connect(sys.argv[1], open_timeout=20, max_size=8 << 20) as socket:
        for message in ["hello", "hé", b"\x00\xff", "x" * 1_000_000]:
            await socket.send(message)
            answer = await asyncio.wait_for(socket.recv(), 20)
            assert answer == message, f"sent {message[:20]!r}, got {answer[:20]!r}"
        await asyncio.wait_for(await socket.ping(), 20)
        print("echo")
    assert socket.close_code == 1000, socket.close_code
    print("close")


if __name__ == "__main__":
    asyncio.run(main())
