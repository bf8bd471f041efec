"""An application that no model is named for: its management frontend says what it takes."""

import asyncio
import contextlib

import pytest
from aiohttp import web

from frontend_launch.ports import Ports
from loadgen.errors import ConfigError
from loadgen.targets.application import describe_application
from model_containers import credentials

REPLY = {"input_type": "doubles", "default_output": "", "latency_slo_micros": 1, "name": "app", "linked_models": []}


@contextlib.asynccontextmanager
async def management(token):
    async def answer(request):
        if request.headers.get("Authorization", "") != (f"Bearer {token}" if token else ""):
            return web.Response(status=401, text="no token")
        return web.json_response(REPLY)

    app = web.Application()
    app.router.add_post("/admin/get_application", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Ports(1, 1, 1, 1, runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def described(path, token, input_type=None):
    async with management(token) as ports:
        return await describe_application("127.0.0.1", ports, "app", input_type, (4,), path)


def test_it_is_asked_with_the_credentials_of_the_deployment(tmp_path):
    """Without them it refuses, and the type has to be said."""
    made = credentials.make()
    path = tmp_path / "clients.json"
    made.write(path)
    assert asyncio.run(described(path, made.token)).takes == ("doubles",)
    assert asyncio.run(described(None, "")).takes == ("doubles",)
    with pytest.raises(ConfigError, match="refuses: no token"):
        asyncio.run(described(None, made.token))
    assert asyncio.run(described(None, made.token, "floats")).takes == ("floats",)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="credentials"):
        asyncio.run(described(path, made.token))
